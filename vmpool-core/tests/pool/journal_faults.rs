//! What a journal does to a pool that is away, in doubt, or another's.

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::journal::{Batch, Change, MachineRow, MemoryJournal, StageRow};
use vmpool_core::machine::MachineState;
use vmpool_core::pool::{AcquireError, AttachError, TryAcquireError};
use vmpool_core::stage::{StageEnd, StageEvent, StageState};
use vmpool_core::testkit::{Call, Fault, FaultPlan, eventually};
use vmpool_core::{AcquireRequest, Journal, Lease, Pool, PoolConfig};

use crate::faulty_journal::{Failure, FaultyJournal, world};
use crate::harness::{World, patient};

/// Every write of a whole life, by its event's name, fails once in each way.
#[tokio::test(start_paused = true)]
async fn p1_p3_a_life_with_any_write_in_doubt_or_refused_goes_on_to_its_end() {
    let writes = [
        "launching",
        "bound",
        "ready",
        "claimed",
        "draining",
        "terminating",
        "gone",
    ];
    let failures = [
        Failure::Unavailable,
        Failure::WrittenInDoubt,
        Failure::UnwrittenInDoubt,
    ];
    for what in writes {
        for how in failures {
            let journal = FaultyJournal::quick();
            journal.fail_next(what, how);
            let world = world(0, 1, &journal).await;
            // The claim's own failure is answered; a retry gets the machine.
            let first = world.acquire("build-1").await;
            assert!(
                first.is_ok() || what == "claimed",
                "{what} {how:?}: {first:?}"
            );
            world.lease("build-1").await;
            // So is the release's.
            if world.pool.release(&"build-1".into()).await.is_err() {
                world.release("build-1").await;
            }
            // The limit is 1: all of the first machine's slots must be free again.
            world.lease("build-2").await;
            world.end().await;
            let rows = journal.pool(&"linux".into()).await.expect("it is there");
            assert!(rows.orders.is_empty(), "{what} {how:?}: {rows:?}");
            assert!(rows.machines.is_empty(), "{what} {how:?}: {rows:?}");
            assert!(rows.stages.is_empty(), "{what} {how:?}: {rows:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_proof_of_absence_in_doubt_frees_the_slot() {
    let journal = FaultyJournal::quick();
    let config = PoolConfig::new("linux", 1, 1);
    let plan = FaultPlan::none().at(Call::Launch, 1, Fault::Delay(Duration::from_secs(100_000)));
    let world = World::on(config, plan, journal.clone()).await;
    journal.fail_next("settled", Failure::WrittenInDoubt);
    tokio::time::sleep(Duration::from_secs(200)).await;
    world.ready(1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_sick_machine_is_drained_once_the_journal_is_back() {
    let journal = FaultyJournal::quick();
    let world = world(1, 1, &journal).await;
    world.ready(1).await;
    let sick = world.status().machines[0].id.clone();
    journal.away(true);
    world.link.lose(&sick, "its agent was killed");
    tokio::time::sleep(Duration::from_secs(30)).await;
    journal.away(false);
    world
        .until("replaced", |status| {
            status.ready == 1 && status.machines[0].id != sick
        })
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_journal_that_is_away_makes_no_loop_hot() {
    let journal = FaultyJournal::quick();
    let world = world(3, 4, &journal).await;
    world.lease("build-1").await;
    world.ready(3).await;
    let sick = world.status().machines[0].id.clone();
    let mut events = world.pool.events();
    journal.away(true);
    world.link.lose(&sick, "its agent was killed");
    world.pool.release_soon(&"build-1".into());
    world.pool.drain("the operator drains it");
    tokio::time::sleep(Duration::from_secs(60)).await;
    journal.away(false);
    let mut troubles = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        troubles += 1;
    }
    // One a second for each of the machines and for the release.
    assert!(
        (60..600).contains(&troubles),
        "{troubles} troubles in a minute"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_became_ready_while_the_journal_was_away_is_kept() {
    let journal = FaultyJournal::quick();
    let world = world(0, 1, &journal).await;
    world.link.connect_after(Duration::from_secs(10));
    world.pool.resize(1, 1);
    world.until("booting", |status| status.booting == 1).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    // Its key is pinned before the connection is open; ready comes after.
    journal.fail_next("ready", Failure::Unavailable);
    world.ready(1).await;
    assert_eq!(world.provider.launched(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_retry_of_a_claim_in_doubt_ends_by_its_own_deadline() {
    let journal = FaultyJournal::quick();
    let world = world(1, 1, &journal).await;
    world.ready(1).await;
    journal.fail_next("claimed", Failure::WrittenInDoubt);
    world.acquire("build-1").await.expect_err("it is in doubt");
    journal.away(true);
    let wait = Duration::from_secs(30);
    let begun = tokio::time::Instant::now();
    let late = world
        .pool
        .acquire(patient("build-1", wait))
        .await
        .expect_err("nobody can read it back");
    assert_eq!(begun.elapsed(), wait);
    assert!(matches!(late, AcquireError::Deadline { .. }), "{late}");
    let tried = world.pool.try_acquire(AcquireRequest::new("build-1")).await;
    assert!(matches!(tried, Err(TryAcquireError::NoneReady { .. })));
    journal.away(false);
    world.lease("build-1").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_claim_in_doubt_that_is_written_after_it_was_looked_for_stands() {
    let journal = FaultyJournal::quick();
    let world = world(1, 1, &journal).await;
    world.ready(1).await;
    journal.fail_next("claimed", Failure::WrittenLate);
    world.acquire("build-1").await.expect_err("it is in doubt");
    let lease = world.lease("build-1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let again = world.pool.attach(&"build-1".into()).await;
    let again = again.expect("it is not over");
    assert_eq!(again.machine_id(), lease.machine_id());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_claim_that_is_durable_and_not_answered_yet_is_not_over() {
    let journal = FaultyJournal::slow(Duration::from_secs(2));
    let world = world(1, 1, &journal).await;
    world.ready(1).await;
    let asks = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        world.pool.attach(&"build-1".into()).await
    };
    let (lease, asked) = tokio::join!(world.lease("build-1"), asks);
    let early = matches!(asked, Err(AttachError::Journal { .. }));
    assert!(early, "{asked:?}");
    let attached = world.pool.attach(&"build-1".into()).await;
    let attached = attached.expect("it has its machine");
    assert_eq!(attached.machine_id(), lease.machine_id());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_that_follows_another_ends_by_its_own_deadline() {
    let world = Arc::new(world(0, 1, &FaultyJournal::quick()).await);
    world.lease("build-1").await;
    let mut first = tokio::task::JoinSet::new();
    {
        let world = world.clone();
        first.spawn(async move { world.lease("build-2").await });
    }
    world.until("it waits", |status| status.waiting == 1).await;
    let tried = world.pool.try_acquire(AcquireRequest::new("build-2")).await;
    assert!(matches!(tried, Err(TryAcquireError::NoneReady { .. })));
    let begun = tokio::time::Instant::now();
    let wait = Duration::from_secs(5);
    world
        .pool
        .acquire(patient("build-2", wait))
        .await
        .expect_err("the first still waits");
    assert_eq!(begun.elapsed(), wait);
    world.release("build-1").await;
    first.join_all().await;
    Arc::into_inner(world).expect("all is over").end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_fenced_pool_calls_the_provider_no_more_and_its_shut_down_ends() {
    let journal = FaultyJournal::quick();
    let plan = FaultPlan::none().always(Call::Launch, Fault::LoseAnswer);
    let config = PoolConfig::new("linux", 1, 2);
    let world = World::on(config, plan, journal.clone()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Another runner takes over.
    let now = world.parts.clock.now();
    journal
        .raise_term(&"linux".into(), now)
        .await
        .expect("it is there");
    let before = world.provider.calls(Call::Launch);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(world.provider.calls(Call::Launch), before);
    let refused = world.acquire("build-1").await.expect_err("it is fenced");
    assert!(matches!(refused, AcquireError::Stopped { .. }), "{refused}");
    let begun = tokio::time::Instant::now();
    world.pool.shutdown(Duration::from_secs(600)).await;
    assert!(begun.elapsed() < Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn a_prepare_deadline_holds_whatever_the_order_in_which_the_journal_has_the_stages() {
    // Many, so that a map's order is hardly ever theirs.
    let world = world(12, 24, &FaultyJournal::quick()).await;
    for n in 0..12 {
        world.lease(&format!("build-{n}")).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    let World {
        pool,
        provider,
        link,
        config,
        parts,
    } = world;
    drop(pool);
    let pool = vmpool_core::WarmPool::start(config.clone(), parts.clone())
        .await
        .expect("it starts again");
    let world = World {
        pool,
        provider,
        link,
        config,
        parts,
    };
    // 84 of the first one's 120 seconds are over.
    for n in 0..12 {
        tokio::time::sleep(Duration::from_secs(if n == 0 { 37 } else { 7 })).await;
        assert_eq!(world.status().claimed, 11 - n);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p13_the_longest_times_there_are_make_nothing_panic() {
    let mut config = PoolConfig::new("linux", 0, 1);
    let longest = Duration::MAX;
    config.max_age = longest;
    let deadlines = &mut config.deadlines;
    for deadline in [
        &mut deadlines.launching,
        &mut deadlines.booting,
        &mut deadlines.prepare,
        &mut deadlines.terminating,
        &mut deadlines.acquire,
        &mut deadlines.stage,
    ] {
        *deadline = longest;
    }
    let plan = FaultPlan::none().at(
        Call::Launch,
        1,
        Fault::Fail(vmpool_core::ErrorKind::Throttled {
            retry_after: Some(Duration::from_secs(1)),
        }),
    );
    let world = World::with(config, plan).await;
    world.lease("build-1").await;
    world.end().await;
    let plan = FaultPlan::none().always(
        Call::Launch,
        Fault::Fail(vmpool_core::ErrorKind::Throttled {
            retry_after: Some(longest),
        }),
    );
    let world = World::with(PoolConfig::new("linux", 1, 1), plan).await;
    let wait = Duration::from_secs(5);
    let late = world
        .pool
        .acquire(patient("build-1", wait))
        .await
        .expect_err("throttled");
    assert!(late.to_string().contains("throttles"), "{late}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_connection_that_breaks_while_a_claim_is_written_costs_no_stage_its_machine() {
    let journal = FaultyJournal::slow(Duration::from_secs(1));
    let world = world(1, 1, &journal).await;
    world.ready(1).await;
    let id = world.status().machines[0].id.clone();
    let breaks = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.link.lose(&id, "connection reset");
    };
    let (lease, ()) = tokio::join!(world.lease("build-1"), breaks);
    assert_eq!(*lease.machine_id(), id);
    let connected = || world.link.is_answering(&id);
    eventually(|| "reconnected".to_owned(), connected).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world
        .pool
        .attach(&"build-1".into())
        .await
        .expect("it has its machine");
    world.release("build-1").await;
    world.end().await;
}

/// A stage's row as a write makes it that nobody waits for: a caller that goes
/// away leaves its write on the way, and it may be made after the pool was through.
async fn is_made_late(journal: &MemoryJournal, lease: &Lease, state: StageState) {
    let record = journal.stage(lease.stage()).await.expect("it is there");
    let stage = record.expect("it was claimed").stage;
    let what = state.as_str();
    let after = StageRow {
        state,
        version: stage.version.next(),
        ..(*stage).clone()
    };
    let late = Batch {
        at: stage.claimed_at,
        pool: stage.pool.clone(),
        term: lease.term(),
        limit: None,
        changes: vec![Change::new(Arc::new(after), what, "a test")],
        notes: Vec::new(),
    };
    journal.commit(late).await.expect("it is the next version");
}

#[tokio::test(start_paused = true)]
async fn p1_a_stage_of_which_a_write_was_made_that_nobody_waited_for_still_ends() {
    let journal = Arc::new(MemoryJournal::new());
    let config = PoolConfig::new("linux", 1, 2);
    let world = World::on(config, FaultPlan::none(), journal.clone()).await;
    let lease = world.lease("build-1").await;
    is_made_late(&journal, &lease, StageState::Prepared).await;
    world.release("build-1").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_that_is_prepared_unseen_ends_at_its_own_deadline_and_not_before() {
    let journal = Arc::new(MemoryJournal::new());
    let config = PoolConfig::new("linux", 1, 2);
    let world = World::on(config, FaultPlan::none(), journal.clone()).await;
    let lasts = Duration::from_secs(3600);
    let request = AcquireRequest {
        lasts: Some(lasts),
        ..AcquireRequest::new("build-1")
    };
    let lease = world.pool.acquire(request).await.expect("a machine comes");
    is_made_late(&journal, &lease, StageState::Prepared).await;
    tokio::time::sleep(world.config.deadlines.prepare * 2).await;
    world
        .until("it goes on", |status| status.claimed == 1)
        .await;
    tokio::time::sleep(lasts).await;
    world.until("it ended", |status| status.claimed == 0).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_stages_end_that_is_found_on_the_way_takes_its_machine_along() {
    let journal = FaultyJournal::quick();
    let world = world(0, 1, &journal).await;
    let lease = world.lease("build-1").await;
    // A release that nobody waited for any more has been made.
    let id = lease.machine_id();
    let machine = journal.machine(id).await.expect("it is there");
    let machine = machine.expect("it is known");
    let stage = journal.stage(&"build-1".into()).await.expect("it is there");
    let stage = stage.expect("it is known").stage;
    let changes = vec![
        Change::new(
            Arc::new(MachineRow {
                cause: "released".into(),
                state: MachineState::Draining,
                version: machine.version.next(),
                ..MachineRow::clone(&machine)
            }),
            "draining",
            "released",
        ),
        Change::new(
            Arc::new(StageRow {
                state: StageState::Ended(StageEnd::Released),
                version: stage.version.next(),
                ..(*stage).clone()
            }),
            "ended",
            "released",
        ),
    ];
    let batch = Batch {
        at: stage.claimed_at,
        pool: "linux".into(),
        term: world.pool.term(),
        limit: None,
        changes,
        notes: Vec::new(),
    };
    journal
        .commit(batch)
        .await
        .expect("nothing speaks against it");
    let noted = world.pool.note(&stage.id, StageEvent::Prepared).await;
    noted.expect_err("it is over");
    world
        .until("its machine is gone", |status| status.machines.is_empty())
        .await;
    world.end().await;
}
