//! P4, P9, P3: steps over a connection that may break at any time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use vmpool_agent::AgentExecutor;
use vmpool_core::{
    AgentLink, ExecutorError, Health, LogSink, LogSinkError, Machine, Secret, StageFile,
    StageSetup, Step, StepExecutor, StepId, StepOutcome, StepStatus, Term, Timestamp,
};

use crate::machine::{Deployment, Host, health, soon, until};
use crate::network::Cable;

/// Keeps a log, and takes a while until it has it durably.
#[derive(Default)]
struct Sink {
    log: Vec<u8>,
    durable: u64,
    /// Bytes that are not durable yet after each write.
    lag: u64,
    broken: bool,
}

#[async_trait]
impl LogSink for Sink {
    fn position(&self, _step: &StepId) -> u64 {
        self.durable
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        if self.broken {
            let (step, reason) = (step.clone(), "the disk is full".to_owned());
            return Err(LogSinkError {
                step,
                offset,
                reason,
            });
        }
        let at = usize::try_from(offset).expect("a small log");
        assert!(at <= self.log.len(), "a gap before {offset}");
        self.log.truncate(at);
        self.log.extend_from_slice(bytes);
        self.durable = self
            .durable
            .max((self.log.len() as u64).saturating_sub(self.lag));
        Ok(self.durable)
    }
}

struct Stage {
    deployment: Deployment,
    host: Host,
    executor: AgentExecutor,
}

async fn stage() -> Stage {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let executor = AgentExecutor::new(deployment.agents.clone());
    Stage {
        deployment,
        host,
        executor,
    }
}

fn outcome(code: i32, log_end: u64) -> StepOutcome {
    StepOutcome {
        status: StepStatus::Exited { code },
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        log_end,
    }
}

#[tokio::test]
async fn a_stage_is_prepared_run_cancelled_and_cleaned_up() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let lease = host.lease();
    let setup = StageSetup {
        workdir: Some("work".into()),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        files: vec![StageFile {
            path: "f".into(),
            mode: 0o600,
            content: Secret::new("content"),
        }],
        secrets: vec![Secret::new("hush")],
    };
    executor.prepare(&lease, &setup).await.expect("prepared");
    host.stub.book(|book| {
        let prepared = book.prepared.take().expect("the setup");
        assert_eq!((prepared.term, prepared.stage_id.as_str()), (1, "stage-1"));
        assert!(
            (3_500_000..=3_600_000).contains(&prepared.deadline_ms),
            "an hour is left"
        );
        assert_eq!(prepared.workdir.as_deref(), Some("work"));
        assert_eq!(prepared.env["A"], "1");
        assert_eq!(
            (prepared.files[0].mode, &*prepared.files[0].content),
            (0o600, &b"content"[..])
        );
        assert_eq!(prepared.secrets, ["hush"]);
    });

    let mut step = Step::shell("build", "make");
    step.secret_env
        .insert("TOKEN".to_owned(), Secret::new("hush"));
    step.timeout = Some(Duration::from_millis(1500));
    step.user = Some("ci".to_owned());
    let mut sink = Sink::default();
    let script = async {
        until("the step", || host.stub.has("build")).await;
        host.stub.print("build", b"hello\n");
        host.stub.exit("build", 3);
    };
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert_eq!(ran.expect("an outcome"), outcome(3, 6));
    assert_eq!(sink.log, b"hello\n");
    host.stub.book(|book| {
        let start = &book.steps["build"].start;
        assert_eq!(start.command, ["sh", "-c", "make"]);
        assert_eq!(start.secret_env["TOKEN"], "hush");
        assert_eq!(
            (start.timeout_ms, start.user.as_deref()),
            (Some(1500), Some("ci"))
        );
    });

    executor
        .cancel(&lease, &StepId::new("build"))
        .await
        .expect("cancelled");
    executor.cleanup(&lease).await.expect("cleaned up");
    host.stub.book(|book| {
        assert_eq!(book.cancelled, ["build"]);
        assert_eq!(book.cleaned, 1);
    });
}

#[tokio::test]
async fn p4_the_agent_is_told_what_the_sink_has_durably_and_nothing_else() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink {
        lag: 4,
        ..Sink::default()
    };
    let acknowledged = || host.stub.book(|book| book.steps["s"].acknowledged);
    let script = async {
        until("the step", || host.stub.has("s")).await;
        host.stub.print("s", b"0123456789");
        until("an acknowledgement", || acknowledged() == 6).await;
        host.stub.print("s", b"ab");
        until("another", || acknowledged() == 8).await;
        host.stub.exit("s", 0);
    };
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert_eq!(ran.expect("an outcome"), outcome(0, 12));
}

#[tokio::test]
async fn p4_a_step_outlives_its_connection_and_no_byte_is_lost_or_doubled() {
    let Stage {
        deployment: _deployment,
        mut host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink {
        lag: 2,
        ..Sink::default()
    };
    let stub = host.stub.clone();
    let script = async {
        until("the step", || stub.has("s")).await;
        for round in 0..3 {
            stub.print("s", format!("round {round}\n").as_bytes());
            let durable = 8 * (round + 1) - 2;
            until("the log", || {
                stub.book(|book| book.steps["s"].acknowledged == durable)
            })
            .await;
            host.stop().await;
            stub.print("s", b"");
            host.boot().await;
            until("an attach", || {
                stub.book(|book| book.steps["s"].attaches.last() == Some(&durable))
            })
            .await;
        }
        stub.print("s", b"end");
        stub.exit("s", 0);
    };
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert_eq!(ran.expect("an outcome"), outcome(0, 27));
    assert_eq!(sink.log, b"round 0\nround 1\nround 2\nend");
    stub.book(|book| {
        let step = &book.steps["s"];
        assert_eq!((step.starts, step.attaches.len()), (1, 3), "started once");
    });
}

#[tokio::test]
async fn p4_a_further_run_attaches_where_the_sink_is() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink::default();
    let first = async {
        until("the step", || host.stub.has("s")).await;
        host.stub.print("s", b"first");
        until("the log", || {
            host.stub.book(|book| book.steps["s"].acknowledged == 5)
        })
        .await;
    };
    tokio::select! {
        ran = executor.run(&lease, &step, &mut sink) => panic!("{ran:?}"),
        () = first => {}
    }
    // The caller has dropped it; the step goes on.
    host.stub.print("s", b" second");
    host.stub.exit("s", 0);
    let ran = soon("its end", executor.run(&lease, &step, &mut sink)).await;
    assert_eq!(ran.expect("an outcome"), outcome(0, 12));
    assert_eq!(sink.log, b"first second");
}

#[tokio::test]
async fn p3_a_step_whose_agent_is_gone_ends_within_seconds_with_a_reason() {
    let Stage {
        deployment: _deployment,
        mut host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink::default();
    let stub = host.stub.clone();
    let script = async {
        until("the step", || stub.has("s")).await;
        host.kill();
    };
    let (ran, ()) = tokio::join!(
        soon("an end", executor.run(&lease, &step, &mut sink)),
        script
    );
    match ran.expect_err("the machine is gone") {
        ExecutorError::MachineLost { machine, reason } => {
            assert_eq!(machine, *lease.machine_id());
            assert!(
                reason.contains("nobody listens there for 0.5 s"),
                "{reason}"
            );
            assert!(reason.contains("refused"), "{reason}");
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn p3_a_step_whose_machine_fell_silent_ends_though_the_pool_still_dials() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let cable = Cable::to(host.address()).await;
    let machine = Machine {
        address: Some(cable.address),
        ..host.machine()
    };
    deployment.open(machine.clone()).await.expect("enrolment");
    let executor = AgentExecutor::new(deployment.agents.clone());
    let lease = vmpool_core::Lease::new(
        host.lease().stage().clone(),
        std::sync::Arc::new(machine.clone()),
        Term(1),
        host.lease().claimed_at(),
        host.lease().deadline(),
        host.lease().origin(),
    );
    let step = Step::shell("s", "true");
    let mut sink = Sink::default();
    let pool = async {
        until("the step", || host.stub.has("s")).await;
        cable.pull();
        let is_lost = |health: &Health| matches!(health, Health::Lost { .. });
        health(&deployment.agents, &host.id, "its loss", is_lost).await;
        // As the pool does for a machine that a stage has.
        deployment
            .agents
            .open(&machine, Term(1), &deployment.pins)
            .await
    };
    let ran = tokio::select! {
        ran = soon("an end", executor.run(&lease, &step, &mut sink)) => ran,
        opened = pool => panic!("{opened:?}"),
    };
    let error = ran.expect_err("the machine is gone");
    assert!(error.to_string().contains("not reached for 2 s"), "{error}");
}

#[tokio::test]
async fn p3_a_step_ends_when_its_machine_is_given_up() {
    let Stage {
        deployment,
        host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink::default();
    let close = async {
        until("the step", || host.stub.has("s")).await;
        deployment.agents.close(&host.id);
    };
    let (ran, ()) = tokio::join!(
        soon("an end", executor.run(&lease, &step, &mut sink)),
        close
    );
    let error = ran.expect_err("it is over");
    assert_eq!(
        error.to_string(),
        "machine m-1 was lost: this runner has given it up"
    );
    assert_eq!(
        host.stub.book(|book| book.opens),
        1,
        "and nobody dials it again"
    );
}

#[tokio::test]
async fn p4_a_silent_step_may_lose_any_number_of_connections() {
    let Stage {
        deployment: _deployment,
        mut host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink::default();
    let stub = host.stub.clone();
    let attaches = || stub.book(|book| book.steps["s"].attaches.len());
    let script = async {
        until("the step", || stub.has("s")).await;
        for round in 1..=7 {
            host.stop().await;
            host.boot().await;
            until("an attach", || attaches() == round).await;
        }
        stub.exit("s", 0);
    };
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert_eq!(ran.expect("an outcome"), outcome(0, 0));
}

#[tokio::test]
async fn p9_a_call_that_its_connection_took_along_is_made_again() {
    let Stage {
        deployment: _deployment,
        mut host,
        executor,
    } = stage().await;
    host.stop().await;
    host.boot().await;
    executor
        .prepare(&host.lease(), &StageSetup::default())
        .await
        .expect("prepared");
    host.stop().await;
    host.boot().await;
    executor.cleanup(&host.lease()).await.expect("cleaned up");
}

#[tokio::test]
async fn p2_a_stage_of_a_runner_that_was_overruled_is_refused() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    host.stub.book(|book| book.term = 5);
    let error = executor
        .prepare(&host.lease(), &StageSetup::default())
        .await
        .expect_err("fenced");
    assert!(matches!(error, ExecutorError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("it obeys term 5, ours is 1"),
        "{error}"
    );
    let mut sink = Sink::default();
    let ran = executor
        .run(&host.lease(), &Step::shell("s", "true"), &mut sink)
        .await;
    assert!(matches!(ran, Err(ExecutorError::Refused { .. })));
    assert!(!host.stub.has("s"), "nothing was started");
}

#[tokio::test]
async fn p13_what_an_agent_refuses_names_the_field_or_the_reason() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let refuse = |code: Code, pairs: &[(&'static str, &str)]| {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.insert(*key, value.parse().expect("ASCII"));
        }
        let status = Status::with_metadata(code, "because", metadata);
        host.stub.book(|book| book.refuse = Some(status));
    };
    let run = async |id: &str| {
        let (step, mut sink) = (Step::shell(id, "true"), Sink::default());
        executor
            .run(&host.lease(), &step, &mut sink)
            .await
            .expect_err("refused")
    };

    refuse(
        Code::FailedPrecondition,
        &[("vmpool-reason", "OTHER_STAGE")],
    );
    assert_eq!(
        run("s").await.to_string(),
        "machine m-1 refused run step s: because"
    );
    refuse(
        Code::AlreadyExists,
        &[("vmpool-reason", "CONFLICT"), ("vmpool-field", "env")],
    );
    assert_eq!(
        run("s").await.to_string(),
        "step s was given before with another env"
    );
    refuse(Code::InvalidArgument, &[("vmpool-field", "user")]);
    assert_eq!(run("s").await.to_string(), "user: because");
    refuse(Code::NotFound, &[]);
    assert_eq!(
        run("s").await.to_string(),
        "run step s for stage stage-1: because"
    );
    refuse(Code::ResourceExhausted, &[]);
    assert!(matches!(run("s").await, ExecutorError::Failed { .. }));
    refuse(Code::Internal, &[]);
    assert!(matches!(run("s").await, ExecutorError::Failed { .. }));
    refuse(
        Code::FailedPrecondition,
        &[("vmpool-reason", "MACHINE_ENDING")],
    );
    assert!(matches!(run("s").await, ExecutorError::MachineLost { .. }));
    refuse(Code::Unavailable, &[]);
    assert!(
        matches!(run("s").await, ExecutorError::Failed { .. }),
        "after a few tries"
    );
}

#[tokio::test]
async fn p13_an_answer_that_breaks_the_library_is_taken_for_what_it_is() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let mut metadata = MetadataMap::new().into_headers();
    metadata.insert(
        "grpc-status-details-bin",
        "?no base64?".parse().expect("ASCII"),
    );
    let metadata = MetadataMap::from_headers(metadata);
    let status = Status::with_metadata(Code::NotFound, "because", metadata);
    host.stub.book(|book| book.refuse = Some(status));
    let error = executor.cleanup(&host.lease()).await.expect_err("refused");
    assert_eq!(error.to_string(), "clean up for stage stage-1: because");
}

#[tokio::test]
async fn p13_a_setup_that_the_agent_would_not_take_is_refused_before_it_is_sent() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let content = Secret::new("x".repeat(33 * 1024 * 1024));
    let files = vec![StageFile {
        path: "big".into(),
        mode: 0o600,
        content,
    }];
    let setup = StageSetup {
        files,
        ..StageSetup::default()
    };
    let error = executor
        .prepare(&host.lease(), &setup)
        .await
        .expect_err("too big");
    assert!(
        matches!(&error, ExecutorError::Invalid { field, .. } if field == "setup"),
        "{error}"
    );
    // And what just fits is taken.
    let content = Secret::new("x".repeat(31 * 1024 * 1024));
    let files = vec![StageFile {
        path: "big".into(),
        mode: 0o600,
        content,
    }];
    let setup = StageSetup {
        files,
        ..StageSetup::default()
    };
    executor
        .prepare(&host.lease(), &setup)
        .await
        .expect("it fits");
}

#[tokio::test]
async fn a_sink_that_breaks_ends_the_run_and_leaves_the_step() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let mut sink = Sink {
        broken: true,
        ..Sink::default()
    };
    let script = async {
        until("the step", || host.stub.has("s")).await;
        host.stub.print("s", b"text");
    };
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert!(matches!(ran, Err(ExecutorError::Log { .. })));
    host.stub.exit("s", 0);
    let mut sink = Sink::default();
    let ran = soon("its end", executor.run(&lease, &step, &mut sink)).await;
    assert_eq!(ran.expect("an outcome"), outcome(0, 4));
}

#[tokio::test]
async fn a_long_log_comes_whole() {
    let Stage {
        deployment: _deployment,
        host,
        executor,
    } = stage().await;
    let (lease, step) = (host.lease(), Step::shell("s", "true"));
    let text: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut sink = Sink::default();
    let script = async {
        until("the step", || host.stub.has("s")).await;
        host.stub.print("s", &text);
        host.stub.exit("s", 0);
    };
    let began = Instant::now();
    let (ran, ()) = tokio::join!(
        soon("its end", executor.run(&lease, &step, &mut sink)),
        script
    );
    assert_eq!(ran.expect("an outcome"), outcome(0, text.len() as u64));
    assert!(
        sink.log == text,
        "each byte of it, in {:?}",
        began.elapsed()
    );
}

#[test]
fn both_ends_have_the_same_idea_of_what_is_too_long() {
    // The runner refuses at this bound by the test above; the agent takes it.
    assert_eq!(lite_engine::listener::MAX_REQUEST, 32 * 1024 * 1024);
    assert_eq!(lite_engine::listener::MAX_ANSWER, 4 * 1024 * 1024);
}
