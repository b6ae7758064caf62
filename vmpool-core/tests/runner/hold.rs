//! Machines that people keep after their stages' ends.

use std::time::Duration;

use vmpool_core::machine::MachineState;
use vmpool_core::pool::HoldError;
use vmpool_core::runner::RunnerError;

use crate::harness::{At, World, exited, gone};

const HOURS_2: Duration = Duration::from_hours(2);

impl At {
    async fn hold(&self, stage: &str, lasts: Duration) -> Result<(), RunnerError> {
        let held = self.runner.hold(&stage.into(), lasts, "ann", "look").await;
        held.map(drop)
    }

    fn held(&self) -> bool {
        let machines = self.status().machines;
        machines.iter().any(|it| it.state == MachineState::Held)
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_held_machine_counts_and_p2_serves_nobody_until_its_time_is_over() {
    let world = World::new(1, 1);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.hold("build-1", HOURS_2).await.expect("it runs");
    // While its stage goes on nothing is changed by that.
    assert_eq!(at.step("build-1", "fails").await.status, exited(3));
    at.destroy("build-1").await;
    at.until("it is held", |status| status.held == 1).await;

    let next = at.try_setup("build-2").await.expect_err("no slot is free");
    assert!(
        next.to_string().contains("no machine of pool linux"),
        "{next}"
    );
    let machine = at.status().machines.remove(0);
    assert!(
        machine.cause.contains("ann holds it for 2 h: look"),
        "{machine:?}"
    );
    // P9: what ended is ended, and told so.
    at.destroy("build-1").await;
    assert_eq!(at.step("build-1", "fails").await.status, exited(3));
    assert!(at.held());

    tokio::time::sleep(HOURS_2).await;
    gone(&world, &lease).await;
    at.setup("build-3").await;
    world.end(at).await;
}

/// The agent's own clocks would end the machine an hour after the stage.
#[tokio::test(start_paused = true)]
async fn p1_the_agent_of_a_held_machine_waits_for_a_runner_that_comes_back() {
    let mut world = World::new(1, 1);
    world.config.deadlines.stage = Duration::from_mins(30);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.hold("build-1", 3 * HOURS_2).await.expect("it runs");
    // Its stage is over by its deadline.
    tokio::time::sleep(world.config.deadlines.stage).await;
    at.until("it is held", |status| status.held == 1).await;
    drop(at);
    tokio::time::sleep(2 * HOURS_2).await;
    assert_eq!(world.provider.alive(), [lease.machine_id().clone()]);

    let at = world.runner().await;
    assert!(at.held());
    let let_go = at.runner.let_go(&"build-1".into()).await;
    let_go.expect("the journal takes it");
    gone(&world, &lease).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p13_what_can_t_be_held_is_told() {
    let world = World::new(1, 1);
    let at = world.runner().await;
    let unknown = at.hold("build-1", HOURS_2).await;
    assert!(
        matches!(unknown, Err(RunnerError::UnknownStage { .. })),
        "{unknown:?}"
    );
    let lease = at.setup("build-1").await;
    let long = at.hold("build-1", 100 * HOURS_2).await;
    let Err(RunnerError::Hold(long @ HoldError::TooLong { .. })) = long else {
        panic!("{long:?}");
    };
    assert!(long.to_string().contains("expires in 3 d"), "{long}");
    at.hold("build-1", HOURS_2).await.expect("it runs");
    at.runner.let_go(&"build-1".into()).await.expect("it runs");
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    let late = at.hold("build-1", HOURS_2).await;
    assert!(matches!(late, Err(RunnerError::Hold(_))), "{late:?}");
    world.end(at).await;
}
