//! The simulated agents keep what real ones keep, and fail as they are told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{SimExecutor, SimLink, SimStep};
use crate::clock::Clock;
use crate::executor::{ExecutorError, StepExecutor};
use crate::id::{Attempt, MachineId, Term};
use crate::link::{AgentLink, AgentReport, Health, KeyHash, LinkError, Machine, PinError, PinKey};
use crate::pool::{Lease, Origin};
use crate::secret::SecretBytes;
use crate::step::{StageSetup, Step, StepStatus};
use crate::testkit::Collected;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Pins(Mutex<Vec<KeyHash>>);

#[async_trait]
impl PinKey for Pins {
    async fn pin(&self, _: &MachineId, key: KeyHash) -> Result<(), PinError> {
        self.0.lock().push(key);
        Ok(())
    }
}

/// Refuses every key.
struct NoPins;

#[async_trait]
impl PinKey for NoPins {
    async fn pin(&self, machine: &MachineId, _: KeyHash) -> Result<(), PinError> {
        Err(PinError::OtherKey {
            machine: machine.clone(),
        })
    }
}

fn machine() -> Machine {
    Machine {
        id: "m-1".into(),
        pool: "linux".into(),
        order: "o-1".into(),
        attempt: Attempt(1),
        address: Some(([127, 0, 0, 1], 9079).into()),
        key: None,
    }
}

/// An open agent and a lease of its machine for `stage`, under term 5.
struct World {
    link: Arc<SimLink>,
    executor: Arc<SimExecutor>,
    lease: Lease,
}

impl World {
    async fn new() -> Self {
        let link = SimLink::new(Clock::system());
        let executor = SimExecutor::new(&link);
        let now = link.clock().now();
        let deadline = now.after(Duration::from_hours(1));
        let machine = Arc::new(machine());
        let lease = Lease::new(
            "stage".into(),
            machine,
            Term(5),
            now,
            deadline,
            Origin::Warm,
        );
        let world = Self {
            link,
            executor,
            lease,
        };
        world.open().await.expect("it answers");
        world
    }

    async fn prepared(script: impl Fn(&Step) -> SimStep + Send + Sync + 'static) -> Self {
        let world = Self::new().await;
        world.link.script(script);
        world.prepare().await.expect("it is ready");
        world
    }

    fn id(&self) -> &MachineId {
        self.lease.machine_id()
    }

    async fn open(&self) -> Result<AgentReport, LinkError> {
        self.link.open(&machine(), Term(5), &Pins::default()).await
    }

    async fn prepare(&self) -> Result<(), ExecutorError> {
        self.executor
            .prepare(&self.lease, &StageSetup::default())
            .await
    }

    async fn run(&self, step: &Step) -> (Result<StepStatus, ExecutorError>, String) {
        let mut log = Collected::default();
        let outcome = self.executor.run(&self.lease, step, &mut log).await;
        (outcome.map(|outcome| outcome.status), log.text())
    }
}

fn talks() -> SimStep {
    SimStep::exits(3)
        .takes(Duration::from_mins(1))
        .prints("one ")
        .prints_after(Duration::from_secs(30), "two")
}

#[tokio::test(start_paused = true)]
async fn a_step_prints_and_ends_when_its_script_says() {
    let world = World::prepared(|_| talks()).await;
    let begun = Instant::now();
    let (status, log) = world.run(&Step::shell("a", "make")).await;
    assert_eq!(
        status.expect("its end is known"),
        StepStatus::Exited { code: 3 }
    );
    assert_eq!(log, "one two");
    assert_eq!(begun.elapsed().as_secs(), 60);
    let entry = world.link.agent(world.id());
    let entry = entry
        .rules()
        .attach(&"stage".into(), &"a".into())
        .expect("known");
    assert_eq!(
        entry.acknowledged(),
        7,
        "all that the sink has is acknowledged"
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_is_attached_to_and_not_run_again() {
    let world = World::prepared(|_| talks()).await;
    let step = Step::shell("a", "make");
    let mut log = Collected::default();
    let run = world.executor.run(&world.lease, &step, &mut log);
    timeout(Duration::from_secs(10), run)
        .await
        .expect_err("the runner gives up");
    world.link.restart_agent(world.id());
    world.open().await.expect("it answers again");
    let outcome = world
        .executor
        .run(&world.lease, &step, &mut log)
        .await
        .expect("it goes on");
    assert_eq!(outcome.status, StepStatus::Exited { code: 3 });
    assert_eq!(log.text(), "one two");
}

#[tokio::test(start_paused = true)]
async fn p4_a_broken_connection_is_waited_out() {
    let world = World::prepared(|_| talks()).await;
    let step = Step::shell("a", "make");
    let breaks = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.link.lose(world.id(), "connection reset");
        let renewed = world.link.renew(world.id(), Term(5)).await;
        renewed.expect_err("a renewal fails at once");
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.open().await.expect("it answers again");
    };
    let ((status, log), ()) = tokio::join!(world.run(&step), breaks);
    assert_eq!(
        status.expect("its end is known"),
        StepStatus::Exited { code: 3 }
    );
    assert_eq!(log, "one two");
}

#[tokio::test(start_paused = true)]
async fn p10_a_step_that_hangs_ends_by_its_timeout_a_cancel_or_the_cleanup() {
    let world = World::prepared(|_| SimStep::hangs().prints("hi")).await;
    let mut short = Step::shell("a", "sleep");
    short.timeout = Some(Duration::from_secs(5));
    assert_eq!(
        world.run(&short).await.0.expect("it ends"),
        StepStatus::TimedOut
    );
    let (b, c) = (Step::shell("b", "sleep"), Step::shell("c", "sleep"));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
            .executor
            .cancel(&world.lease, &"b".into())
            .await
            .expect("it takes it");
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
            .executor
            .cleanup(&world.lease)
            .await
            .expect("it takes it");
    };
    let ((b, _), (c, log), ()) = tokio::join!(world.run(&b), world.run(&c), ends);
    assert_eq!(b.expect("it ends"), StepStatus::Cancelled);
    assert_eq!(c.expect("it ends"), StepStatus::Cancelled);
    assert_eq!(log, "hi");
}

#[tokio::test(start_paused = true)]
async fn p3_a_dead_machine_ends_the_run_with_the_reason() {
    let world = World::prepared(|_| SimStep::hangs()).await;
    let kills = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.link.kill(world.id(), "spot interruption");
    };
    let step = Step::shell("a", "sleep");
    let ((status, _), ()) = tokio::join!(world.run(&step), kills);
    let error = status.expect_err("the machine is gone").to_string();
    assert_eq!(error, "machine m-1 was lost: spot interruption");
    timeout(PATIENCE, world.open())
        .await
        .expect_err("it never answers again");
}

#[tokio::test(start_paused = true)]
async fn a_machine_dies_at_its_nth_call_which_it_carries_out() {
    let world = World::new().await;
    world.link.die_at(world.id(), 2);
    world.prepare().await.expect("the first");
    let error = world.prepare().await.expect_err("the second");
    assert!(
        matches!(error, ExecutorError::MachineLost { .. }),
        "{error}"
    );
    assert!(!world.link.is_answering(world.id()));
    assert!(world.link.agent(world.id()).rules().stage().is_some());
}

#[tokio::test(start_paused = true)]
async fn agents_connect_late_or_never_as_told() {
    let link = SimLink::new(Clock::system());
    let (mut machine, pins) = (machine(), Pins::default());
    link.connect_after(Duration::from_secs(40));
    let begun = Instant::now();
    link.open(&machine, Term(1), &pins)
        .await
        .expect("it answers");
    assert_eq!(begun.elapsed().as_secs(), 40);
    link.connect_after(Duration::ZERO);
    link.never_answer(true);
    let open = link.open(&machine, Term(1), &pins);
    timeout(PATIENCE, open).await.expect_err("nobody answers");
    link.never_answer(false);
    machine.address = None;
    let error = link
        .open(&machine, Term(1), &pins)
        .await
        .expect_err("no address");
    assert!(matches!(error, LinkError::NoAddress { .. }));
}

#[tokio::test(start_paused = true)]
async fn p12_the_key_is_pinned_before_the_agent_is_enrolled() {
    let link = SimLink::new(Clock::system());
    let mut machine = machine();
    link.open(&machine, Term(1), &NoPins)
        .await
        .expect_err("another key is pinned");
    let health = link.health(&machine.id);
    assert_eq!(*health.borrow(), Health::Unconnected);
    let pins = Pins::default();
    link.open(&machine, Term(1), &pins)
        .await
        .expect("it answers");
    machine.key = pins.0.lock().first().copied();
    assert!(machine.key.is_some());
    link.open(&machine, Term(1), &NoPins)
        .await
        .expect("the pinned key again");
    link.change_key(&machine.id);
    let error = link
        .open(&machine, Term(1), &NoPins)
        .await
        .expect_err("another key");
    assert!(matches!(error, LinkError::Enrolment { .. }));
}

#[tokio::test(start_paused = true)]
async fn p2_the_real_fence_stands_in_simulated_agents() {
    let world = World::prepared(|_| SimStep::exits(0)).await;
    let error = world.link.open(&machine(), Term(4), &Pins::default()).await;
    assert!(
        matches!(
            error,
            Err(LinkError::Fenced {
                theirs: Term(5),
                ..
            })
        ),
        "{error:?}"
    );
    let report = world.link.open(&machine(), Term(6), &Pins::default()).await;
    assert_eq!(report.expect("a higher term").stage, Some("stage".into()));
    let error = world
        .run(&Step::shell("a", "true"))
        .await
        .0
        .expect_err("the lease is of term 5");
    assert!(matches!(error, ExecutorError::Refused { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p5_the_same_step_with_another_field_is_a_conflict() {
    let world = World::prepared(|_| SimStep::exits(0)).await;
    let mut step = Step::shell("a", "true");
    world.run(&step).await.0.expect("it ends");
    step.user = Some("root".into());
    let error = world
        .run(&step)
        .await
        .0
        .expect_err("another user")
        .to_string();
    assert_eq!(error, "step a was given before with another user");
}

#[tokio::test(start_paused = true)]
async fn p1_an_agent_that_is_not_renewed_ends_its_machine() {
    let world = World::new().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_mins(9)).await;
        world
            .link
            .renew(world.id(), Term(5))
            .await
            .expect("it is there");
    }
    tokio::time::sleep(Duration::from_mins(11)).await;
    let error = world
        .link
        .renew(world.id(), Term(5))
        .await
        .expect_err("it has ended");
    assert!(error.to_string().contains("no renewal"), "{error}");
    assert!(matches!(
        *world.link.health(world.id()).borrow(),
        Health::Lost { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_ends_what_waits_on_it_and_leaves_the_agent() {
    let world = World::prepared(|_| SimStep::hangs()).await;
    let closes = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.link.close(world.id());
    };
    let step = Step::shell("a", "sleep");
    let ((status, _), ()) = tokio::join!(world.run(&step), closes);
    assert!(matches!(status, Err(ExecutorError::MachineLost { .. })));
    assert_eq!(world.open().await.expect("it is there").steps.len(), 1);
}

#[test]
fn a_sealed_request_opens_for_its_order_and_attempt_only() {
    let link = SimLink::new(Clock::system());
    let request = SecretBytes::new(b"run 3 machines".to_vec());
    let sealed = link.seal(&"o-1".into(), Attempt(1), &request);
    let opened = link
        .unseal(&"o-1".into(), Attempt(1), &sealed)
        .expect("its own");
    assert_eq!(opened.expose(), request.expose());
    link.unseal(&"o-1".into(), Attempt(2), &sealed)
        .expect_err("another attempt");
    link.unseal(&"o-2".into(), Attempt(1), &sealed)
        .expect_err("another order");
}
