//! Case 16: a stage whose machine can't be prepared gets the next machine of its
//! pool, however its runner and its journal fare meanwhile.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use vmpool_core::explain::explain;
use vmpool_core::journal::StageRow;
use vmpool_core::machine::MachineState;
use vmpool_core::runner::{RunnerError, SetupRequest, Sharing};
use vmpool_core::stage::{MOST_MACHINES, StageState};
use vmpool_core::testkit::eventually;
use vmpool_core::{Journal, Lease, MachineId};

use crate::gate::Way;
use crate::harness::{At, POOL, World, exited, request, stage};
use crate::stuck::Trap;

/// A runner whose first so many machines can't be prepared.
async fn with_broken(world: &World, first: usize) -> At {
    let trap = Some(Trap::PrepareFails(first));
    world.runner_with("alone", Sharing::Alone, trap).await
}

/// A pool of one machine, each of which takes a while to come.
fn slow() -> World {
    let world = World::new(1, 1);
    world.agents.connect_after(Duration::from_secs(20));
    world
}

/// Somebody who asks for the stage; dropped, it asks no more.
fn ask(at: &At) -> JoinSet<Result<Lease, RunnerError>> {
    let (at, mut asking) = (at.clone(), JoinSet::new());
    asking.spawn(async move { at.try_setup("build-1").await });
    asking
}

async fn answer(mut asking: JoinSet<Result<Lease, RunnerError>>) -> Result<Lease, RunnerError> {
    let answered = asking.join_next().await.expect("somebody asks");
    answered.expect("it does not panic")
}

impl World {
    async fn row(&self, stage: &str) -> StageRow {
        (*self.record(stage).await.stage).clone()
    }

    /// The stage waits for its next machine, and the last one is not its any more.
    async fn waits(&self, stage: &str) -> MachineId {
        for _ in 0..600 {
            let known = self.rows.stage(&stage.into()).await;
            let row = known.expect("it is in memory").map(|record| record.stage);
            if let Some(row) = row.filter(|row| row.state == StageState::Waiting) {
                let machine = self.rows.machine(&row.machine).await;
                let machine = machine.expect("it is in memory").expect("it was there");
                assert_eq!(machine.stage, None, "it never served the stage");
                return row.machine.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not wait: {:?}", self.record(stage).await);
    }

    async fn is_over(&self, machine: &MachineId) {
        let show = || format!("{machine} is alive");
        eventually(show, || !self.provider.alive().contains(machine)).await;
    }

    /// No row is left that is not over, but those of what is kept warm.
    async fn nothing_is_left_of(&self, stage: &str) {
        let rows = self.rows.pool(&POOL.into()).await;
        let rows = rows.expect("it is in memory");
        assert!(rows.stages.is_empty(), "{:?}", rows.stages);
        for machine in rows.machines {
            assert_ne!(machine.stage.as_ref(), Some(&stage.into()), "{machine:?}");
        }
    }
}

fn is_broken(row: &StageRow, machines: &[&MachineId]) {
    let tried: Vec<_> = row.tried.iter().map(|tried| &tried.machine).collect();
    assert_eq!(tried, machines);
    for tried in &row.tried {
        assert!(tried.why.contains("its disk is full"), "{tried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_whose_machine_can_not_be_prepared_runs_on_the_next_and_p9_keeps_that() {
    let world = World::new(2, 4);
    let at = with_broken(&world, 1).await;
    at.until("two are ready", |pool| pool.ready == 2).await;
    let lease = at.setup("build-1").await;
    let row = world.row("build-1").await;
    assert_eq!(&row.machine, lease.machine_id());
    let first = row.tried[0].machine.clone();
    assert_ne!(&first, lease.machine_id());
    is_broken(&row, &[&first]);
    world.is_over(&first).await;
    assert_eq!(at.setup("build-1").await.machine_id(), lease.machine_id());
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    assert_eq!(world.starts("build-1", "make").await, 1);
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    at.destroy("build-1").await;
    world.is_over(lease.machine_id()).await;
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_explain_tells_of_the_machine_that_could_not_be_prepared() {
    let world = World::new(2, 4);
    let at = with_broken(&world, 1).await;
    at.setup("build-1").await;
    let first = world.row("build-1").await.tried[0].machine.clone();
    let story = explain(&*world.rows, "build-1", world.clock.now(), &[]).await;
    let story = story.expect("it is known");
    let told = format!("machine {first} could not be prepared: ");
    let event = story.moments.iter().find(|it| it.what == "waiting");
    let cause = &event.expect("an event").cause;
    assert!(cause.starts_with(&told), "{cause}");
    assert!(cause.contains("its disk is full"), "{cause}");
    let its_own = explain(&*world.rows, first.as_str(), world.clock.now(), &[]).await;
    let its_own = its_own.expect("it is known");
    let drained = its_own.moments.iter().find(|it| it.what == "draining");
    assert!(drained.expect("an event").cause.starts_with(&told));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_that_no_machine_can_be_prepared_for_ends_and_names_each() {
    let world = World::new(1, 9);
    let at = with_broken(&world, usize::MAX).await;
    let refused = at.try_setup("build-1").await.expect_err("all are broken");
    assert!(
        matches!(refused, RunnerError::Unprepared { .. }),
        "{refused:?}"
    );
    let row = world.row("build-1").await;
    let StageState::Ended(end) = &row.state else {
        panic!("it has not ended: {row:?}");
    };
    let tried = [&row.tried[0].machine, &row.tried[1].machine, &row.machine];
    assert_eq!(tried.len(), MOST_MACHINES);
    for told in [refused.to_string(), end.to_string()] {
        assert_eq!(told.matches("its disk is full").count(), 3, "{told}");
        for machine in tried {
            assert!(told.contains(machine.as_str()), "{told}");
            world.is_over(machine).await;
        }
    }
    let again = at.try_setup("build-1").await.expect_err("it is over");
    assert!(again.to_string().contains("its disk is full"), "{again}");
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p7_in_a_pool_at_its_limit_the_next_machine_takes_the_slot_of_the_last() {
    let world = World::new(1, 1);
    let at = with_broken(&world, 2).await;
    at.setup("build-1").await;
    assert_eq!(world.row("build-1").await.tried.len(), 2);
    assert_eq!(world.provider.most_alive(), 1);
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_whose_next_machine_does_not_come_in_time_ends_and_says_what_it_was_tried_on() {
    let world = World::new(1, 1);
    let at = with_broken(&world, 1).await;
    at.until("one is ready", |pool| pool.ready == 1).await;
    world.agents.never_answer(true);
    let hurried = SetupRequest {
        wait: Some(Duration::from_secs(30)),
        ..request("build-1")
    };
    let begun = tokio::time::Instant::now();
    let refused = at.runner.setup(hurried).await.expect_err("none comes");
    assert!(begun.elapsed() <= Duration::from_secs(31), "{refused}");
    let row = world.row("build-1").await;
    let StageState::Ended(end) = &row.state else {
        panic!("it has not ended: {row:?}");
    };
    for told in [refused.to_string(), end.to_string()] {
        assert!(told.contains(row.machine.as_str()), "{told}");
        assert!(told.contains("its disk is full"), "{told}");
        assert!(told.contains("no machine of pool linux"), "{told}");
    }
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p13_a_setup_that_no_machine_could_carry_out_is_tried_on_one() {
    let world = World::new(2, 4);
    let trap = Some(Trap::SetupInvalid);
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    let refused = at.try_setup("build-1").await.expect_err("it is invalid");
    assert!(refused.to_string().contains("workdir"), "{refused}");
    let row = world.row("build-1").await;
    assert!(row.state.is_ended(), "{row:?}");
    is_broken(&row, &[]);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_two_who_ask_for_a_stage_get_the_same_next_machine() {
    let world = World::new(1, 3);
    let at = with_broken(&world, 2).await;
    let (one, other) = tokio::join!(at.setup("build-1"), at.setup("build-1"));
    assert_eq!(one.machine_id(), other.machine_id());
    let row = world.row("build-1").await;
    assert_eq!((&row.machine, row.tried.len()), (one.machine_id(), 2));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_p9_the_next_runner_gets_a_stage_its_next_machine_when_it_is_asked_again() {
    let world = slow();
    let at = with_broken(&world, 1).await;
    let asking = ask(&at);
    let first = world.waits("build-1").await;
    drop(asking);
    drop(at);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let row = world.row("build-1").await;
    assert_eq!(&row.machine, lease.machine_id());
    is_broken(&row, &[&first]);
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p1_p3_a_stage_that_nobody_asks_another_machine_for_ends() {
    for restarts in [false, true] {
        let world = slow();
        let at = with_broken(&world, 1).await;
        let asking = ask(&at);
        let first = world.waits("build-1").await;
        drop(asking);
        let at = if restarts {
            drop(at);
            world.runner().await
        } else {
            at
        };
        tokio::time::sleep(world.config.deadlines.prepare * 2).await;
        let row = world.row("build-1").await;
        let StageState::Ended(end) = &row.state else {
            panic!("it has not ended: {row:?}");
        };
        let end = end.to_string();
        assert!(end.contains("nobody asked for another"), "{end}");
        assert!(end.contains(first.as_str()), "{end}");
        world.is_over(&first).await;
        world.nothing_is_left_of("build-1").await;
        world.end(at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p1_p3_a_stage_that_is_destroyed_while_it_waits_for_its_next_machine_gets_none() {
    for asked_on in [true, false] {
        let world = slow();
        let at = with_broken(&world, 1).await;
        let asking = ask(&at);
        let first = world.waits("build-1").await;
        let asking = asked_on.then_some(asking);
        at.destroy("build-1").await;
        assert!(world.row("build-1").await.state.is_ended(), "P5: durable");
        if let Some(asking) = asking {
            let told = answer(asking).await.expect_err("it is destroyed");
            let told = told.to_string();
            assert!(told.contains("destroyed"), "{told}");
        }
        let again = at.try_setup("build-1").await.expect_err("P2: it is over");
        assert!(again.to_string().contains("is over"), "{again}");
        world.is_over(&first).await;
        world.nothing_is_left_of("build-1").await;
        world.end(at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p1_p5_whatever_the_journal_has_of_a_machine_that_is_given_up_in_doubt() {
    for made in [true, false] {
        let world = World::new(1, 3);
        let at = with_broken(&world, 1).await;
        at.until("one is ready", |pool| pool.ready == 1).await;
        let asking = ask(&at);
        // Its setup is sent, and the answer is about to come.
        tokio::time::sleep(Duration::from_millis(500)).await;
        at.gate.set(Way::InDoubt { readable: false });
        tokio::time::sleep(Duration::from_secs(2)).await;
        if made {
            at.gate.deliver().await;
        }
        at.gate.set(Way::Open);
        let _ = timeout(Duration::from_secs(60), answer(asking)).await;
        // Whatever that caller was told: asked again, there is one machine.
        let lease = at.setup("build-1").await;
        let row = world.row("build-1").await;
        assert_eq!(&row.machine, lease.machine_id(), "made: {made}");
        assert_eq!(row.tried.len(), 1, "{row:?}");
        assert_eq!(at.step("build-1", "make").await.status, exited(0));
        at.destroy("build-1").await;
        world.is_over(lease.machine_id()).await;
        world.is_over(&row.tried[0].machine).await;
        world.nothing_is_left_of("build-1").await;
        world.end(at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_a_person_wants_to_look_at_is_not_given_up_for_another() {
    let world = World::new(1, 3);
    let at = with_broken(&world, 1).await;
    at.until("one is ready", |pool| pool.ready == 1).await;
    let asking = ask(&at);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lasts = Duration::from_hours(1);
    let build = stage("build-1");
    let held = at.runner.hold(&build, lasts, "ann", "look").await;
    held.expect("it has its machine");
    let refused = answer(asking).await.expect_err("it is broken");
    assert!(
        refused.to_string().contains("its disk is full"),
        "{refused}"
    );
    let row = world.row("build-1").await;
    assert!(row.state.is_ended(), "{row:?}");
    let held = at.status().machines.into_iter();
    let mut held = held.filter(|it| it.state == MachineState::Held);
    assert_eq!(held.next().map(|it| it.id), Some(row.machine));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_setup_of_another_content_does_not_take_the_place_of_one_that_waits() {
    let world = slow();
    let at = with_broken(&world, 1).await;
    let asking = ask(&at);
    world.waits("build-1").await;
    drop(asking);
    let mut other = request("build-1");
    other.setup.env.insert("STAGE".into(), "another".into());
    let refused = at.runner.setup(other).await.expect_err("it differs");
    assert!(
        refused
            .to_string()
            .contains("asked for before with another content"),
        "{refused}"
    );
    let lease = at.setup("build-1").await;
    assert_eq!(&world.row("build-1").await.machine, lease.machine_id());
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_machine_that_is_not_prepared_in_time_is_given_up_for_the_next() {
    let world = World::new(1, 3);
    let trap = Some(Trap::PrepareHangs(1));
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    at.setup("build-1").await;
    let row = world.row("build-1").await;
    assert_eq!(&*row.tried[0].why, "not in time");
    assert_eq!(row.tried.len(), 1);
    world.is_over(&row.tried[0].machine).await;
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_machine_that_is_lost_while_it_is_prepared_is_given_up_for_the_next() {
    let world = World::new(1, 3);
    let trap = Some(Trap::PrepareHangs(1));
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    at.until("one is ready", |pool| pool.ready == 1).await;
    let asking = ask(&at);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let first = world.row("build-1").await.machine;
    world.agents.kill(&first, "its power failed");
    world.provider.kill(&first);
    let lease = answer(asking).await.expect("the next one does");
    let row = world.row("build-1").await;
    assert_eq!((&row.machine, row.tried.len()), (lease.machine_id(), 1));
    assert_eq!(row.tried[0].machine, first);
    assert!(row.tried[0].why.starts_with("it was lost: "), "{row:?}");
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    at.destroy("build-1").await;
    world.is_over(lease.machine_id()).await;
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_that_is_not_prepared_in_time_on_any_machine_ends_and_names_each() {
    let world = World::new(1, 3);
    let trap = Some(Trap::PrepareHangs(usize::MAX));
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    let refused = at.try_setup("build-1").await.expect_err("all hang");
    let row = world.row("build-1").await;
    assert!(row.state.is_ended(), "{row:?}");
    assert_eq!(row.tried.len() + 1, MOST_MACHINES);
    for tried in &row.tried {
        let told = refused.to_string();
        assert!(told.contains(tried.machine.as_str()), "{told}");
    }
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_machine_that_nobody_prepares_any_more_is_given_up_with_its_stage() {
    let world = World::new(1, 3);
    let trap = Some(Trap::PrepareHangs(1));
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    let asked = timeout(Duration::from_secs(10), at.try_setup("build-1")).await;
    assert!(asked.is_err(), "it hangs");
    tokio::time::sleep(world.config.deadlines.prepare * 2).await;
    let row = world.row("build-1").await;
    assert!(row.state.is_ended(), "{row:?}");
    assert_eq!(row.tried, []);
    world.nothing_is_left_of("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_each_machine_has_the_whole_time_to_be_prepared() {
    let world = World::new(2, 4);
    let takes = world.config.deadlines.prepare * 3 / 4;
    let trap = Some(Trap::PrepareTakes(takes));
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    at.setup("build-1").await;
    let row = world.row("build-1").await;
    is_broken(&row, &[&row.tried[0].machine]);
    world.end(at).await;
}
