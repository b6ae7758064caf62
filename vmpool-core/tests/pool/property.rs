//! Any sequence of requests, cancellations, releases, deaths and faults: the
//! limit holds, every request ends, and at the end no machine is left.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use vmpool_core::testkit::{Call, Fault, FaultPlan, assert_accounted};
use vmpool_core::{AcquireRequest, ErrorKind, PoolConfig};

use crate::harness::World;

const LIMIT: u32 = 4;

#[derive(Debug, Clone)]
enum Op {
    /// A stage asks, waits this long, and has the machine this long.
    Request {
        wait: u64,
        hold: u64,
    },
    /// The n-th running request is dropped.
    Cancel(usize),
    /// The cloud takes the n-th machine away; its agent is gone too.
    Kill(usize),
    /// The n-th machine's connection breaks.
    Lose(usize),
    /// From now on this goes wrong.
    Faults(usize),
    /// Time passes.
    Wait(u64),
    Resize(u32),
}

fn plans(n: usize) -> FaultPlan {
    let none = FaultPlan::none();
    match n {
        0 => none,
        1 => none.always(Call::Launch, Fault::Fail(ErrorKind::NoCapacity)),
        2 => none.always(Call::Launch, Fault::LoseAnswer),
        3 => none.always(Call::Launch, Fault::Partial(1)),
        4 => none.always(Call::Launch, Fault::Delay(Duration::from_secs(40))),
        5 => none.always(Call::Terminate, Fault::Fail(ErrorKind::Transient)),
        6 => none.always(Call::Terminate, Fault::LoseAnswer),
        7 => none.always(
            Call::List,
            Fault::Fail(ErrorKind::Throttled { retry_after: None }),
        ),
        _ => none.always(Call::List, Fault::LoseAnswer),
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0u64..120, 0u64..60).prop_map(|(wait, hold)| Op::Request { wait, hold }),
        3 => (0usize..8).prop_map(Op::Cancel),
        2 => (0usize..6).prop_map(Op::Kill),
        2 => (0usize..6).prop_map(Op::Lose),
        2 => (0usize..9).prop_map(Op::Faults),
        4 => (0u64..200).prop_map(Op::Wait),
        1 => (0u32..=LIMIT).prop_map(Op::Resize),
    ];
    prop::collection::vec(op, 1..40)
}

async fn play(ops: Vec<Op>) {
    let world = Arc::new(World::with(PoolConfig::new("linux", 2, LIMIT), plans(0)).await);
    let mut requests = JoinSet::new();
    let mut handles = Vec::new();
    for (n, op) in ops.into_iter().enumerate() {
        match op {
            Op::Request { wait, hold } => {
                let world = world.clone();
                handles.push(requests.spawn(async move {
                    let stage = format!("build-{n}");
                    let request = AcquireRequest {
                        wait: Some(Duration::from_secs(wait)),
                        lasts: Some(Duration::from_secs(100)),
                        ..AcquireRequest::new(stage.as_str())
                    };
                    if world.pool.acquire(request).await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(hold)).await;
                        world.release(&stage).await;
                    }
                }));
            }
            Op::Cancel(n) => {
                if let Some(handle) = handles.get(n) {
                    handle.abort();
                }
            }
            Op::Kill(n) => {
                if let Some(id) = world.provider.alive().get(n) {
                    world.provider.kill(id);
                    world.link.lose(id, "the machine is gone");
                }
            }
            Op::Lose(n) => {
                if let Some(id) = world.provider.alive().get(n) {
                    world.link.lose(id, "connection reset");
                }
            }
            Op::Faults(n) => world.provider.set_plan(plans(n)),
            Op::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Op::Resize(warm) => world.pool.resize(warm, LIMIT),
        }
        assert_accounted(&world.status(), &world.provider);
    }
    world.provider.set_plan(plans(0));
    // Each request ends by its deadline: none is left after the longest of them.
    let all = async { while requests.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(1000), all)
        .await
        .expect("every request ends (P3)");
    let world = Arc::into_inner(world).expect("all requests are over");
    // A stage whose request was dropped after its claim is ended by the prepare deadline.
    tokio::time::sleep(Duration::from_secs(600)).await;
    world
        .until("no stage has a machine", |status| status.claimed == 0)
        .await;
    world.end().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_every_request_ends(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(ops));
    }
}
