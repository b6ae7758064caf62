//! Two runners on one journal (DESIGN §6).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use vmpool_core::journal::RowKey;
use vmpool_core::runner::{
    LeaseTimes, PoolOwner, PoolSource, Runner, RunnerError, RunnerParts, RunnerStartError, Sharing,
};
use vmpool_core::testkit::{SimExecutor, eventually};
use vmpool_core::{Journal as _, PoolConfig, StepStatus};

use crate::gate::Way;
use crate::harness::{World, exited, holder, make, request, stage};

#[tokio::test(start_paused = true)]
async fn a_runner_names_the_owner_of_what_is_not_its_own() {
    let world = World::new(1, 3);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    assert_eq!(one.owner(), PoolOwner::Ours);
    assert_eq!(two.owner(), PoolOwner::Theirs(holder("one")));
    assert!(is_of(&two.try_setup("build-1").await, "one"));
    one.setup("build-1").await;
    let forwarded = two.runner.pool_of(&stage("build-1")).await;
    assert_eq!(forwarded.expect("it is read"), Some("linux".into()));
    assert!(is_of(&two.try_step("build-1", "make").await, "one"));
    assert!(is_of(&two.runner.destroy(&stage("build-1")).await, "one"));
    // What has ended any of them tells.
    let outcome = one.step("build-1", "make").await;
    assert_eq!(two.step("build-1", "make").await, outcome);
    world.end(one).await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_names_the_owner_of_what_it_was_not_even_given() {
    let world = World::new(1, 3);
    let one = world.shared("one").await;
    one.setup("build-1").await;
    let other = PoolSource {
        config: PoolConfig::new("windows", 0, 1),
        ..world.source()
    };
    let sharing = Sharing::Shared(LeaseTimes::default());
    let two = start(&world, sharing, vec![other]).await;
    let two = two.expect("it starts");
    assert!(is_of(&two.setup(request("build-2")).await, "one"));
    assert!(is_of(
        &two.step(&stage("build-1"), make("make")).await,
        "one"
    ));
    assert!(is_of(&two.destroy(&stage("build-1")).await, "one"));
    assert_eq!(two.owner(&"linux".into()), PoolOwner::Unknown);
    assert!(two.knows(&"linux".into()).await.expect("it is read"));
    assert!(!two.knows(&"mac".into()).await.expect("it is read"));
    one.runner.hand_over().await;
    let nobodys = two.setup(request("build-3")).await;
    assert!(
        matches!(nobodys, Err(RunnerError::UnknownPool { .. })),
        "{nobodys:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_dead_runners_pool_is_taken_over_and_its_steps_are_attached_to_within_10_s() {
    let world = World::new(2, 5);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    let lease = one.setup("build-1").await;
    one.begin(&world, "build-1", "make").await;
    let opened = world.logs.opened(&stage("build-1"), &"make".into());
    // As a crash: nothing is given up.
    drop(one);
    let died = Instant::now();
    let attached = || world.logs.opened(&stage("build-1"), &"make".into()) > opened;
    let show = || format!("owner: {:?}", two.owner());
    eventually(show, attached).await;
    assert!(
        died.elapsed() <= Duration::from_secs(10),
        "{:?}",
        died.elapsed()
    );
    assert_eq!(two.step("build-1", "make").await.status, exited(0));
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    assert_eq!(world.starts("build-1", "make").await, 1);
    assert_eq!(two.setup("build-1").await.machine_id(), lease.machine_id());
    let story = world
        .rows
        .history(&RowKey::Stage(stage("build-1")), 99)
        .await;
    let story = story.expect("it is in memory");
    let told = story.iter().find(|event| event.what == "taken over");
    let cause = &told.expect("who goes on is told").cause;
    assert!(cause.starts_with("runner two has the pool now"), "{cause}");
    world.end(two).await;
}

#[tokio::test(start_paused = true)]
async fn p2_a_runner_that_was_stopped_and_goes_on_is_fenced_and_harmless() {
    let world = World::new(2, 6);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    one.setup("build-1").await;
    one.begin(&world, "build-1", "make").await;
    one.gate.set(Way::Hangs);
    two.owns().await;
    assert_eq!(two.step("build-1", "make").await.status, exited(0));
    two.setup("build-2").await;
    one.gate.set(Way::Open);
    let refused = one.try_setup("build-3").await;
    assert!(
        matches!(refused, Err(RunnerError::NotOurs { .. })),
        "{refused:?}"
    );
    let show = || format!("{:?}", one.owner());
    eventually(show, || one.owner() == PoolOwner::Theirs(holder("two"))).await;
    assert!(is_of(&one.try_setup("build-2").await, "two"));
    assert_eq!(world.starts("build-1", "make").await, 1);
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    two.until("nothing was ended", |status| {
        status.claimed == 2 && status.ready == 2
    })
    .await;
    drop(one);
    world.end(two).await;
}

#[tokio::test(start_paused = true)]
async fn p2_who_is_refused_by_an_agent_that_obeys_another_is_sent_to_that_runner() {
    let world = World::new(1, 3);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    one.setup("build-1").await;
    one.begin(&world, "build-1", "hangs").await;
    let opened = world.logs.opened(&stage("build-1"), &"hangs".into());
    one.gate.set(Way::Hangs);
    let attached = || world.logs.opened(&stage("build-1"), &"hangs".into()) > opened;
    eventually(|| format!("owner: {:?}", two.owner()), attached).await;
    let (build, hangs) = (stage("build-1"), "hangs".into());
    // The agent is the first to say so: the journal answers a moment later.
    let (cancelled, ()) = tokio::join!(one.runner.cancel(&build, &hangs), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        one.gate.set(Way::Open);
    });
    assert!(
        matches!(cancelled, Err(RunnerError::NotOurs { .. })),
        "{cancelled:?}"
    );
    assert_eq!(two.owner(), PoolOwner::Ours);
    two.cancel("build-1", "hangs").await;
    let outcome = two.step("build-1", "hangs").await;
    assert_eq!(outcome.status, StepStatus::Cancelled);
    drop(one);
    world.end(two).await;
}

#[tokio::test(start_paused = true)]
async fn p4_who_is_refused_by_an_agent_that_obeys_another_is_not_told_so_while_the_journal_is_away()
{
    let world = World::new(1, 3);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    one.setup("build-1").await;
    one.begin(&world, "build-1", "make").await;
    one.gate.set(Way::Hangs);
    let opened = world.logs.opened(&stage("build-1"), &"make".into());
    let attached = || world.logs.opened(&stage("build-1"), &"make".into()) > opened;
    eventually(|| format!("owner: {:?}", two.owner()), attached).await;
    // The new owner ends too, and nobody can say whose the pool is.
    two.runner.hand_over().await;
    one.gate.set(Way::Away);
    let refused = one.runner.cancel(&stage("build-1"), &"make".into()).await;
    assert!(
        matches!(refused, Err(RunnerError::NotOurs { .. })),
        "{refused:?}"
    );
    one.gate.set(Way::Open);
    let again = async {
        loop {
            match one.try_step("build-1", "make").await {
                Ok(outcome) => return outcome,
                Err(RunnerError::NotOurs { .. }) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(again.await.status, exited(0));
    world.end(one).await;
}

#[tokio::test(start_paused = true)]
async fn p4_who_waits_for_a_step_is_sent_to_the_new_owner() {
    let world = World::new(1, 3);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    one.setup("build-1").await;
    let taken = async {
        one.begin(&world, "build-1", "hangs").await;
        one.gate.set(Way::Hangs);
        two.owns().await;
        one.gate.set(Way::Open);
    };
    let (outcome, ()) = tokio::join!(one.try_step("build-1", "hangs"), taken);
    assert!(
        matches!(outcome, Err(RunnerError::NotOurs { .. })),
        "{outcome:?}"
    );
    world.end(two).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_pool_that_is_handed_over_is_taken_at_once_and_nothing_of_it_ends() {
    let world = World::new(1, 1);
    let (one, two) = (world.shared("one").await, world.shared("two").await);
    let lease = one.setup("build-1").await;
    one.begin(&world, "build-1", "make").await;
    let hand_over = async {
        one.until("one waits", |status| status.waiting == 1).await;
        one.runner.hand_over().await;
    };
    let (waiting, ()) = tokio::join!(one.try_setup("build-2"), hand_over);
    assert!(
        matches!(waiting, Err(RunnerError::NotOurs { .. })),
        "{waiting:?}"
    );
    assert_eq!(one.owner(), PoolOwner::Nobodys);
    let taken = timeout(Duration::from_secs(2), two.owns()).await;
    taken.expect("nobody waits for a lease to end");
    assert_eq!(two.setup("build-1").await.machine_id(), lease.machine_id());
    assert_eq!(two.step("build-1", "make").await.status, exited(0));
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    world.end(two).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_goes_to_and_fro_and_its_owner_is_always_one() {
    let world = World::new(1, 4);
    let mut owner = world.shared("one").await;
    owner.setup("build-1").await;
    owner.begin(&world, "build-1", "hangs").await;
    for name in ["two", "three", "four"] {
        let next = world.shared(name).await;
        assert!(matches!(next.owner(), PoolOwner::Theirs(_)));
        owner.runner.hand_over().await;
        next.owns().await;
        owner = next;
    }
    owner.cancel("build-1", "hangs").await;
    let outcome = owner.step("build-1", "hangs").await;
    assert_eq!(outcome.status, StepStatus::Cancelled);
    world.end(owner).await;
}

#[tokio::test(start_paused = true)]
async fn p13_a_runner_does_not_start_with_what_can_not_be() {
    let world = World::new(1, 3);
    let twice = start(&world, Sharing::Alone, vec![world.source(), world.source()]).await;
    assert!(
        matches!(twice, Err(RunnerStartError::TwicePool { .. })),
        "{twice:?}"
    );
    let times = LeaseTimes {
        stop_after: Duration::from_secs(5),
        ..LeaseTimes::default()
    };
    let late = start(&world, Sharing::Shared(times), vec![world.source()]).await;
    assert!(
        matches!(late, Err(RunnerStartError::LeaseTimes { .. })),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_only_the_journal_knows_is_shown_with_a_warning() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.until("ready", |status| status.ready == 1).await;
    drop(at);
    let other = PoolSource {
        config: PoolConfig::new("windows", 0, 1),
        ..world.source()
    };
    let runner = start(&world, Sharing::Alone, vec![other]).await;
    let runner = runner.expect("it starts");
    let seen = || {
        let all = runner.status();
        let unknown = all
            .iter()
            .find(|standing| standing.owner == PoolOwner::Unknown);
        unknown.is_some_and(|standing| standing.name.as_str() == "linux")
    };
    let show = || format!("{:?}", runner.status());
    eventually(show, seen).await;
    let troubles = runner.troubles();
    assert!(
        troubles.iter().any(|it| it.text.contains("pool linux")),
        "{troubles:?}"
    );
    assert_eq!(world.provider.alive().len(), 1);
}

async fn start(
    world: &World,
    sharing: Sharing,
    pools: Vec<PoolSource>,
) -> Result<Runner, RunnerStartError> {
    let link = world.agents.beside();
    let parts = RunnerParts {
        journal: world.rows.clone(),
        executor: SimExecutor::new(&link),
        link,
        logs: Arc::new(world.logs.clone()),
        clock: world.clock,
        holder: holder("one"),
        sharing,
    };
    Runner::start(parts, pools).await
}

fn is_of<T>(answer: &Result<T, RunnerError>, owner: &str) -> bool {
    matches!(answer, Err(RunnerError::NotOurs { holder: Some(by), .. }) if *by == holder(owner))
}
