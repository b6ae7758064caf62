//! Any history on a journal that fails at any commits, each in any way: every
//! request ends, and at the end no machine is left, here or in the journal.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use vmpool_core::testkit::{FaultPlan, assert_accounted};
use vmpool_core::{AcquireRequest, Journal, Pool, PoolConfig};

use crate::faulty_journal::{Failure, FaultyJournal};
use crate::harness::World;

const LIMIT: u32 = 3;

#[derive(Debug, Clone)]
enum Op {
    /// A stage asks, waits this long, and has the machine this long.
    Request {
        wait: u64,
        hold: u64,
    },
    /// The n-th running request is dropped.
    Cancel(usize),
    /// The cloud takes the n-th machine away.
    Kill(usize),
    /// The n-th machine's connection breaks.
    Lose(usize),
    /// The journal is away for so long.
    Away(u64),
    /// Time passes.
    Wait(u64),
    Resize(u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0u64..60, 0u64..20).prop_map(|(wait, hold)| Op::Request { wait, hold }),
        2 => (0usize..8).prop_map(Op::Cancel),
        1 => (0usize..4).prop_map(Op::Kill),
        2 => (0usize..4).prop_map(Op::Lose),
        1 => (0u64..10).prop_map(Op::Away),
        4 => (0u64..20_000).prop_map(Op::Wait),
        2 => (0u64..40).prop_map(Op::Wait),
        1 => (0u32..=LIMIT).prop_map(Op::Resize),
    ];
    prop::collection::vec(op, 1..30)
}

fn failures() -> impl Strategy<Value = Vec<(u64, Failure)>> {
    let how = prop_oneof![
        Just(Failure::Unavailable),
        Just(Failure::WrittenInDoubt),
        Just(Failure::UnwrittenInDoubt),
    ];
    prop::collection::vec((1u64..120, how), 0..30)
}

async fn play(ops: Vec<Op>, failures: Vec<(u64, Failure)>, takes: Duration) {
    let journal = FaultyJournal::slow(takes);
    for (nth, how) in failures {
        journal.fail_at(nth, how);
    }
    let config = PoolConfig::new("linux", 2, LIMIT);
    let world = Arc::new(World::on(config, FaultPlan::none(), journal.clone()).await);
    let mut requests = JoinSet::new();
    let mut handles = Vec::new();
    for (n, op) in ops.into_iter().enumerate() {
        match op {
            Op::Request { wait, hold } => {
                let world = world.clone();
                handles.push(requests.spawn(async move {
                    let stage = format!("build-{n}");
                    let wait = Duration::from_secs(wait);
                    let request = AcquireRequest {
                        wait: Some(wait),
                        lasts: Some(Duration::from_secs(100)),
                        ..AcquireRequest::new(stage.as_str())
                    };
                    let begun = tokio::time::Instant::now();
                    let result = world.pool.acquire(request).await;
                    let took = begun.elapsed();
                    assert!(took <= wait + Duration::from_secs(1), "it took {took:?}");
                    if result.is_ok() {
                        tokio::time::sleep(Duration::from_secs(hold)).await;
                        // Retried until the journal takes it, as callers do (P9).
                        while world.pool.release(&stage.as_str().into()).await.is_err() {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
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
            Op::Away(seconds) => {
                journal.away(true);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                journal.away(false);
            }
            Op::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Op::Resize(warm) => world.pool.resize(warm, LIMIT),
        }
        assert_accounted(&world.status(), &world.provider);
    }
    let all = async {
        while let Some(ended) = requests.join_next().await {
            if let Err(error) = ended {
                assert!(error.is_cancelled(), "{error}");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1000), all)
        .await
        .expect("every request ends (P3)");
    let world = Arc::into_inner(world).expect("all requests are over");
    // A stage whose request was dropped after its claim is ended by the prepare deadline.
    tokio::time::sleep(Duration::from_secs(600)).await;
    world
        .until("no stage has a machine", |status| status.claimed == 0)
        .await;
    let warm = world.status().warm;
    world.ready(warm).await;
    world.end().await;
    let rows = journal.pool(&"linux".into()).await.expect("it is there");
    let left = (rows.orders.len(), rows.machines.len(), rows.stages.len());
    assert_eq!(left, (0, 0, 0), "{rows:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn p1_p3_nothing_is_lost_whichever_commits_fail(
        ops in ops(),
        failures in failures(),
        takes in prop_oneof![Just(0u64), Just(2), Just(20), Just(500)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(ops, failures, Duration::from_millis(takes)));
    }
}
