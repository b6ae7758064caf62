//! Whose call goes first where not all can be made.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vmpool_core::Pool;
use vmpool_core::account::{AccountConfig, CallKind, Priority, Rate};
use vmpool_core::pool::Origin;
use vmpool_core::testkit::Call;

use crate::harness::{World, lease, patient, until};

/// One call at a time of each kind, and then none for so long.
const EVERY: Duration = Duration::from_secs(10);

fn tight(kind: CallKind) -> AccountConfig {
    let mut config = AccountConfig::default();
    let rate = match kind {
        CallKind::Launch => &mut config.launch,
        _ => &mut config.list,
    };
    *rate = Rate {
        burst: 1,
        every: EVERY,
    };
    config
}

#[tokio::test(start_paused = true)]
async fn p8_ends_go_before_requests_before_refills_before_audits() {
    let world = World::with(tight(CallKind::Launch));
    drop(lease(&world.pool("first", 0, 1).await, "build-1").await);
    let mut callers = JoinSet::new();
    let (begins, mut begun) = mpsc::channel(10);
    for priority in [
        Priority::Audit,
        Priority::Refill,
        Priority::Request,
        Priority::Terminate,
    ] {
        let (account, begins) = (world.account.clone(), begins.clone());
        callers.spawn(async move {
            let pass = account.pass(CallKind::Launch, priority).await;
            let call = async { begins.send(priority).await.ok() };
            pass.make(call).await;
        });
        // Each joins the line in its turn, the least urgent first.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(begins);
    let mut order = Vec::new();
    while let Some(priority) = begun.recv().await {
        order.push(priority);
    }
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn p8_a_waiting_request_s_machine_is_ordered_before_a_warm_one() {
    let world = World::with(tight(CallKind::Launch));
    // The only token of now.
    let first = world.pool("first", 1, 1).await;
    until(&first, "ready", |status| status.ready == 1).await;
    let refilled = world.pool("refilled", 1, 5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(refilled.status().ready, 0);
    let asked = world.pool("asked", 0, 5).await;
    let leased = asked.acquire(patient("build-1")).await;
    let leased = leased.expect("a machine comes");
    assert!(matches!(leased.origin(), Origin::Waited(span) if span <= EVERY));
    assert_eq!(refilled.status().ready, 0, "nobody waits for its machine");
    tokio::time::sleep(EVERY * 2).await;
    assert_eq!(refilled.status().ready, 1);
    world.end([first, refilled, asked]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_an_end_that_must_be_seen_is_listed_before_an_audit() {
    let world = World::with(tight(CallKind::List));
    let mut audited = Vec::new();
    for n in 0..5 {
        // Their listings are of machines of their own, and can't be shared.
        let world = world.beside();
        let pool = world.pool(&format!("audited-{n}"), 0, 1).await;
        audited.push((world, pool));
    }
    world.provider.terminate_late();
    let pool = world.pool("ending", 0, 1).await;
    lease(&pool, "build-1").await;
    // Each minute takes as many listings as there are tokens: the line is never empty.
    tokio::time::sleep(Duration::from_mins(10)).await;
    let waits = |priority| {
        let waiting = world.account.waiting().into_iter();
        waiting.filter(|one| one.priority == priority).count()
    };
    assert!(waits(Priority::Audit) >= 2, "{:?}", world.account.waiting());
    let before = world.provider.calls(Call::List);
    let asked = Instant::now();
    pool.release(&"build-1".into()).await.expect("written");
    until(&pool, "listed", |_| {
        world.provider.calls(Call::List) > before
    })
    .await;
    assert!(asked.elapsed() <= EVERY, "it waited for others");
    assert!(waits(Priority::Audit) >= 1, "they wait still");
    world.provider.finish_endings();
    until(&pool, "gone", |status| status.machines.is_empty()).await;
    for (world, pool) in audited {
        world.end([pool]).await;
    }
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_machines_end_at_once_however_many_launches_wait() {
    let world = World::with(tight(CallKind::Launch));
    let pool = world.pool("linux", 0, 50).await;
    lease(&pool, "build-0").await;
    let mut requests = JoinSet::new();
    for n in 1..20 {
        let pool = pool.clone();
        requests.spawn(async move { pool.acquire(patient(&format!("build-{n}"))).await });
    }
    until(&pool, "they wait", |status| status.waiting == 19).await;
    let before = Instant::now();
    pool.release(&"build-0".into()).await.expect("written");
    until(&pool, "told", |_| {
        world.provider.calls(Call::Terminate) == 1
    })
    .await;
    assert!(before.elapsed() < Duration::from_secs(1));
    for lease in requests.join_all().await {
        lease.expect("its turn comes");
    }
    world.end([pool]).await;
}
