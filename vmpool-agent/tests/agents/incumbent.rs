//! Stages and steps by the incumbent's protocol, over connections that break
//! and on an agent that forgets everything (P4, P9, P10, P12).

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use vmpool_agent::{LiteEngineExecutor, MachineExecutor, ThrowAway};
use vmpool_core::pool::{Lease, Origin};
use vmpool_core::{
    AgentLink, Attempt, Clock, ExecutorError, Health, LogSink, LogSinkError, Machine, OrderId,
    PoolName, StageId, StageSetup, Step, StepExecutor, StepId, StepStatus, Term,
};

use crate::machine::{Deployment, health, order, soon, until};
use crate::theirs::Theirs;

/// A log that others may look at.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    log: Vec<u8>,
    gap: Option<String>,
}

impl Sink {
    fn text(&self) -> String {
        let kept = self.0.lock().expect("no panic");
        String::from_utf8_lossy(&kept.log).into_owned()
    }

    fn gap(&self) -> Option<String> {
        self.0.lock().expect("no panic").gap.clone()
    }

    async fn until(&self, text: &str) {
        until(text, || self.text() == text).await;
    }
}

#[async_trait]
impl LogSink for Sink {
    fn position(&self, _: &StepId) -> u64 {
        self.0.lock().expect("no panic").log.len() as u64
    }

    async fn write(&mut self, _: &StepId, offset: u64, bytes: &[u8]) -> Result<u64, LogSinkError> {
        let mut kept = self.0.lock().expect("no panic");
        assert_eq!(offset, kept.log.len() as u64, "no gap, and nothing twice");
        kept.log.extend_from_slice(bytes);
        Ok(kept.log.len() as u64)
    }

    async fn gap(&mut self, _: &StepId, reason: &str) -> Result<(), LogSinkError> {
        self.0.lock().expect("no panic").gap = Some(reason.to_owned());
        Ok(())
    }
}

/// A machine of the incumbent's, its stage prepared.
struct World {
    deployment: Deployment,
    theirs: Theirs,
    executor: LiteEngineExecutor,
    lease: Lease,
}

fn machine(theirs: &Theirs, order: OrderId) -> Machine {
    Machine {
        id: "m-1".into(),
        pool: PoolName::new("pool"),
        order,
        attempt: Attempt(1),
        address: Some(theirs.address),
        key: None,
    }
}

fn lease(machine: Machine) -> Lease {
    let now = Clock::system().now();
    let deadline = now.after(Duration::from_hours(1));
    let stage = StageId::new("stage-1");
    Lease::new(
        stage,
        Arc::new(machine),
        Term(1),
        now,
        deadline,
        Origin::Warm,
    )
}

/// A stage on a machine whose agent was met.
async fn met() -> World {
    let deployment = Deployment::new();
    let born_with = deployment.authority.throw_away(&order(), Attempt(1));
    let theirs = Theirs::start(&born_with.expect("certificates")).await;
    let machine = machine(&theirs, order());
    let report = deployment.open(machine.clone()).await.expect("met");
    assert_eq!(report.version, "dev");
    World {
        executor: LiteEngineExecutor::new(deployment.agents.clone()),
        lease: lease(machine),
        deployment,
        theirs,
    }
}

/// The same, prepared.
async fn world() -> World {
    let world = met().await;
    world.prepare("the stage").await;
    world
}

impl World {
    async fn prepare(&self, what: &str) {
        let setup = StageSetup::default();
        let prepared = self.executor.prepare(&self.lease, &setup);
        soon(what, prepared).await.expect(what);
    }

    async fn run(&self, id: &str, log: &Sink) -> Result<StepStatus, ExecutorError> {
        let mut log = log.clone();
        let step = Step::shell(id, "make");
        let run = self.executor.run(&self.lease, &step, &mut log);
        Ok(soon("the step", run).await?.status)
    }

    async fn attach(&self, id: &str, log: &Sink) -> Result<StepStatus, ExecutorError> {
        let (mut log, id) = (log.clone(), StepId::new(id));
        let attach = self.executor.attach(&self.lease, &id, &mut log);
        Ok(soon("the step", attach).await?.status)
    }

    async fn begun(&self, step: &str) {
        until("the step's start", || self.theirs.has(step)).await;
    }

    fn runs(&self) -> Vec<String> {
        self.theirs.book(|book| book.runs.clone())
    }
}

fn exited(code: i32) -> StepStatus {
    StepStatus::Exited { code }
}

#[tokio::test]
async fn a_stage_is_prepared_run_and_cleaned_up_and_each_again_changes_nothing() {
    let world = world().await;
    let log = Sink::default();
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        world.begun("step-a").await;
        world.theirs.print("step-a", b"one\n");
        log.until("one\n").await;
        world.theirs.print("step-a", b"no newline");
        world.theirs.exit("step-a", 3);
    });
    assert_eq!(status.expect("an end"), exited(3));
    assert_eq!(log.text(), "one\nno newline");
    assert_eq!(
        world.run("a", &log).await.expect("the same"),
        exited(3),
        "P9"
    );
    assert_eq!(log.text(), "one\nno newline");
    assert_eq!(world.runs(), ["step-a"]);
    let directory = world.theirs.request("step-a").working_dir;
    assert_eq!(directory, "/tmp/vmpool/workspace");

    world.prepare("the stage again").await;
    assert_eq!(world.theirs.book(|book| book.setups.len()), 1, "W8");
    world
        .executor
        .cleanup(&world.lease)
        .await
        .expect("destroyed");
    // It answers 500 with nothing to that (W3).
    world
        .executor
        .cleanup(&world.lease)
        .await
        .expect("destroyed");
    world.deployment.agents.shutdown().await;
}

#[tokio::test]
async fn p4_a_start_whose_answer_is_lost_starts_once() {
    let world = world().await;
    world.theirs.book(|book| book.swallow = Some("/start_step"));
    let log = Sink::default();
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        until("the poll after it", || {
            world
                .theirs
                .book(|book| book.polls.iter().any(|id| id == "step-a"))
        })
        .await;
        world.theirs.exit("step-a", 0);
    });
    assert_eq!(status.expect("an end"), exited(0));
    assert_eq!(world.runs(), ["step-a"]);
}

#[tokio::test]
async fn p9_a_setup_whose_answer_is_lost_is_made_good() {
    for path in ["/setup", "/start_step", "/poll_step"] {
        let world = met().await;
        world.theirs.book(|book| book.swallow = Some(path));
        world.prepare(path).await;
    }
}

#[tokio::test]
async fn p4_a_step_outlives_its_connections_and_no_byte_is_lost_or_doubled() {
    let world = world().await;
    let log = Sink::default();
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        world.begun("step-a").await;
        // Silent, and lost more often than any call is tried.
        for _ in 0..7 {
            let polls = || world.theirs.book(|book| book.polls.len());
            let before = polls();
            world.theirs.break_off();
            until("the next poll", || polls() > before + 1).await;
        }
        world.theirs.print("step-a", b"one\n");
        log.until("one\n").await;
        world.theirs.break_off();
        world.theirs.print("step-a", b"two\n");
        log.until("one\ntwo\n").await;
        world.theirs.exit("step-a", 0);
    });
    assert_eq!(status.expect("an end"), exited(0));
    assert_eq!(log.text(), "one\ntwo\n");
    assert_eq!(world.runs(), ["step-a"]);
}

#[tokio::test]
async fn p4_an_output_that_breaks_off_goes_on_where_it_was() {
    let world = world().await;
    let log = Sink::default();
    world.theirs.book(|book| book.cut = Some(5));
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        world.begun("step-a").await;
        world.theirs.print("step-a", b"0123456789");
        world.theirs.exit("step-a", 0);
    });
    assert_eq!(status.expect("an end"), exited(0));
    assert_eq!(log.text(), "0123456789");
    assert_eq!(log.gap(), None);
}

#[tokio::test]
async fn p4_a_step_that_a_restarted_agent_has_forgotten_is_lost_and_never_run_again() {
    let world = world().await;
    let log = Sink::default();
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        world.begun("step-a").await;
        world.theirs.print("step-a", b"one\n");
        log.until("one\n").await;
        world.theirs.restart();
    });
    let status = status.expect("an end");
    let StepStatus::Lost { reason } = &status else {
        panic!("{status:?}");
    };
    assert!(reason.contains("was restarted"), "{reason}");
    assert_eq!(log.gap().as_ref(), Some(reason), "the log says so too");
    // Nor does one run that comes after, without a stage.
    for again in [
        world.run("a", &log).await,
        world.attach("a", &log).await,
        world.run("b", &log).await,
    ] {
        assert_eq!(again.expect("an end"), status);
    }
    assert_eq!(world.runs(), ["step-a"]);
}

#[tokio::test]
async fn p4_a_runner_after_another_finds_the_step_by_its_id() {
    let world = world().await;
    let log = Sink::default();
    tokio::select! {
        ended = world.run("a", &log) => panic!("{ended:?}"),
        () = async {
            world.begun("step-a").await;
            world.theirs.print("step-a", b"one\n");
            log.until("one\n").await;
        } => {}
    }
    world.deployment.agents.shutdown().await;

    let agents = world.deployment.restarted();
    let machine = world.lease.machine();
    let opened = agents.open(machine, Term(2), &world.deployment.pins);
    soon("the agent", opened).await.expect("met");
    let next = World {
        executor: LiteEngineExecutor::new(agents.clone()),
        ..world
    };
    let never = next
        .attach("never-sent", &log)
        .await
        .expect_err("it has none");
    assert!(
        matches!(never, ExecutorError::UnknownStep { .. }),
        "{never}"
    );
    let (status, ()) = tokio::join!(next.attach("a", &log), async {
        next.theirs.print("step-a", b"two\n");
        next.theirs.exit("step-a", 4);
    });
    assert_eq!(status.expect("an end"), exited(4));
    assert_eq!(log.text(), "one\ntwo\n");
    assert_eq!(next.runs(), ["step-a"]);
    agents.shutdown().await;
}

#[tokio::test]
async fn p10_a_step_that_is_cancelled_ends_here_and_its_output_is_read_to_its_end() {
    let world = world().await;
    let log = Sink::default();
    let id = StepId::new("a");
    let (status, ()) = tokio::join!(world.run("a", &log), async {
        world.begun("step-a").await;
        world.theirs.print("step-a", b"one\n");
        log.until("one\n").await;
        let cancelled = world.executor.cancel(&world.lease, &id).await;
        cancelled.expect("it is noted");
    });
    assert_eq!(status.expect("an end"), StepStatus::Cancelled);
    assert_eq!(
        world.attach("a", &log).await.expect("the same"),
        StepStatus::Cancelled
    );
    // A reader that leaves while a step prints may be the agent's end (W1).
    world.theirs.print("step-a", &vec![b'x'; 200_000]);
    world.theirs.exit("step-a", 0);
    world
        .executor
        .cleanup(&world.lease)
        .await
        .expect("destroyed");
    assert_eq!(world.theirs.book(|book| book.deserters), 0);
}

#[tokio::test]
async fn p12_whoever_has_not_the_machines_own_key_is_not_taken_for_its_agent() {
    let deployment = Deployment::new();
    let other = deployment
        .authority
        .throw_away(&OrderId::new("other"), Attempt(1));
    let other: ThrowAway = other.expect("certificates");
    let theirs = Theirs::start(&other).await;
    let machine = machine(&theirs, order());
    let opening = deployment.agents.open(&machine, Term(1), &deployment.pins);
    let refused = async {
        until("its refusal", || {
            let trouble = deployment.agents.trouble(&machine.id).unwrap_or_default();
            trouble.contains("invalid peer certificate")
        })
        .await;
    };
    tokio::select! {
        opened = opening => panic!("{opened:?}"),
        () = refused => {}
    }
    assert_eq!(theirs.book(|book| book.setups.len()), 0);
}

#[tokio::test]
async fn p6_an_agent_that_is_gone_is_seen_to_be_and_met_again() {
    let world = world().await;
    let id = &world.lease.machine().id;
    let agents = &world.deployment.agents;
    health(agents, id, "its health", Health::is_answering).await;
    agents.renew(id, Term(1)).await.expect("nothing to put off");
    world.theirs.break_off();
    health(agents, id, "its loss", |health| !health.is_answering()).await;
    let opened = world.deployment.open(world.lease.machine().clone()).await;
    opened.expect("met again");
    health(agents, id, "its health", Health::is_answering).await;
}

#[tokio::test]
async fn machines_of_both_kinds_are_driven_by_what_their_agents_speak() {
    let world = world().await;
    let ours = world.deployment.machine("ours").await;
    world
        .deployment
        .open(ours.machine())
        .await
        .expect("enrolled");
    let executor = MachineExecutor::with(
        world.deployment.agents.clone(),
        world
            .executor
            .clone()
            .with_workspace(|_| PathBuf::from("/w")),
    );
    let setup = StageSetup::default();
    executor.prepare(&ours.lease(), &setup).await.expect("ours");
    assert!(ours.stub.book(|book| book.prepared.is_some()));
    executor
        .prepare(&world.lease, &setup)
        .await
        .expect("theirs");
    let mut log = Sink::default();
    let step = Step::shell("a", "make");
    let (ended, ()) = tokio::join!(executor.run(&world.lease, &step, &mut log), async {
        world.begun("step-a").await;
        world.theirs.exit("step-a", 0);
    });
    assert!(ended.expect("an end").status.is_success());
    assert_eq!(world.theirs.request("step-a").working_dir, "/w");
    assert!(!executor.guarantees().mutual_tls, "it says what both keep");
}
