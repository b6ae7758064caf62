//! Who may do what: P2, P9, P13.

use tonic::Code;
use vmpool_proto::agent::v1::{
    CancelRequest, CleanupRequest, File, Limits, OpenRequest, PrepareRequest, RenewRequest,
    StartStep,
};

use crate::support::{
    Disk, Run, STAGE, TERM, attach, exited, is, preparation, run, runner, shell, variables,
};

#[tokio::test]
async fn p2_a_lower_term_is_refused_and_learns_which_rules() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.prepared().await;
    runner
        .open(OpenRequest { term: TERM + 1 })
        .await
        .expect("a higher term");
    let refusals = [
        runner.open(OpenRequest { term: TERM }).await.map(drop),
        runner.renew(RenewRequest { term: TERM }).await.map(drop),
        runner.prepare(preparation()).await.map(drop),
        Run::start(&runner, shell("step", "true")).await.map(drop),
        runner
            .cleanup(CleanupRequest {
                term: TERM,
                stage_id: STAGE.into(),
            })
            .await
            .map(drop),
    ];
    for refusal in refusals {
        let status = refusal.expect_err("fenced");
        assert!(
            is(&status, Code::FailedPrecondition, "vmpool-reason", "FENCED"),
            "{status:?}"
        );
        assert!(
            is(&status, Code::FailedPrecondition, "vmpool-term", "8"),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn p2_a_machine_serves_one_stage_also_after_it_and_after_a_restart() {
    let disk = Disk::new();
    let (agent, mut runner) = disk.prepared().await;
    let other = PrepareRequest {
        stage_id: "stage 18".into(),
        ..preparation()
    };
    let refused = |status: &tonic::Status| {
        is(
            status,
            Code::FailedPrecondition,
            "vmpool-reason",
            "OTHER_STAGE",
        )
    };
    assert!(refused(
        &runner
            .prepare(other.clone())
            .await
            .expect_err("another stage")
    ));
    let cleanup = CleanupRequest {
        term: TERM,
        stage_id: STAGE.into(),
    };
    runner.cleanup(cleanup).await.expect("cleaned up");
    assert!(refused(
        &runner
            .prepare(other.clone())
            .await
            .expect_err("another stage")
    ));
    agent.close().await;
    let (_agent, mut runner) = disk.ruled().await;
    assert!(refused(
        &runner.prepare(other).await.expect_err("another stage")
    ));
}

#[tokio::test]
async fn nobody_is_served_before_the_agent_is_enrolled() {
    let disk = Disk::new();
    let agent = disk.agent();
    let refused = runner(&agent).open(OpenRequest { term: TERM }).await;
    let status = refused.expect_err("not enrolled");
    assert!(
        is(
            &status,
            Code::FailedPrecondition,
            "vmpool-reason",
            "NOT_ENROLLED"
        ),
        "{status:?}"
    );
}

#[tokio::test]
async fn p9_a_step_that_is_started_again_is_followed_and_not_run_twice() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let step = shell("step", "echo ran | tee -a count");
    let (first, second) = tokio::join!(run(&runner, step.clone()), run(&runner, step.clone()));
    let third = run(&runner, step).await;
    assert!(exited(&first.0, 0));
    assert_eq!(first, second);
    assert_eq!(first, third);
    let (_, count) = run(&runner, shell("count", "cat count")).await;
    assert_eq!(count, "ran\n");
}

#[tokio::test]
async fn p9_the_same_id_with_other_content_is_a_conflict_that_names_the_field() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.prepared().await;
    run(&runner, shell("step", "true")).await;
    let changes = [
        ("command", shell("step", "false")),
        (
            "env",
            StartStep {
                env: variables([("A", "1")]),
                ..shell("step", "true")
            },
        ),
        (
            "timeout_ms",
            StartStep {
                timeout_ms: Some(1),
                ..shell("step", "true")
            },
        ),
    ];
    for (field, changed) in changes {
        let status = Run::start(&runner, changed)
            .await
            .map(drop)
            .expect_err("a conflict");
        assert!(
            is(&status, Code::AlreadyExists, "vmpool-field", field),
            "{status:?}"
        );
    }
    let changed = PrepareRequest {
        secrets: vec!["new".into()],
        ..preparation()
    };
    let status = runner.prepare(changed).await.expect_err("a conflict");
    assert!(
        is(&status, Code::AlreadyExists, "vmpool-field", "secrets"),
        "{status:?}"
    );
}

#[tokio::test]
async fn p13_input_that_can_t_be_carried_out_names_its_field_and_changes_nothing() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let file = |path: &str, mode| File {
        path: path.into(),
        mode,
        content: Vec::new(),
    };
    let preparations = [
        (
            "stage_id",
            PrepareRequest {
                stage_id: String::new(),
                ..preparation()
            },
        ),
        (
            "workdir",
            PrepareRequest {
                workdir: Some("../x".into()),
                ..preparation()
            },
        ),
        (
            "files[1].path",
            PrepareRequest {
                files: vec![file("a", 0o600), file("../b", 0o600)],
                ..preparation()
            },
        ),
        (
            "files[0].mode",
            PrepareRequest {
                files: vec![file("a", 0o4777)],
                ..preparation()
            },
        ),
        (
            "env",
            PrepareRequest {
                env: variables([("A=B", "")]),
                ..preparation()
            },
        ),
    ];
    for (field, request) in preparations {
        let status = runner.prepare(request).await.expect_err("invalid");
        assert!(
            is(&status, Code::InvalidArgument, "vmpool-field", field),
            "{status:?}"
        );
    }
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert_eq!(report.stage_id, None);

    runner.prepare(preparation()).await.expect("prepared");
    let good = shell("step", "true");
    let steps = [
        (
            "step_id",
            StartStep {
                step_id: "a\nb".into(),
                ..good.clone()
            },
        ),
        (
            "command",
            StartStep {
                command: Vec::new(),
                ..good.clone()
            },
        ),
        (
            "secret_env",
            StartStep {
                secret_env: variables([("A", "\0")]),
                ..good.clone()
            },
        ),
        (
            "workdir",
            StartStep {
                workdir: Some("a\0".into()),
                ..good.clone()
            },
        ),
        (
            "limits",
            StartStep {
                limits: Some(Limits {
                    memory_bytes: Some(0),
                    processes: None,
                }),
                ..good.clone()
            },
        ),
        (
            "log_offset",
            StartStep {
                log_offset: 1,
                ..good.clone()
            },
        ),
    ];
    for (field, step) in steps {
        let status = Run::start(&runner, step)
            .await
            .map(drop)
            .expect_err("invalid");
        assert!(
            is(&status, Code::InvalidArgument, "vmpool-field", field),
            "{status:?}"
        );
    }
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert!(report.prepared && report.steps.is_empty());
    assert!(exited(&run(&runner, good).await.0, 0));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let status = Run::attach(&runner, attach("step", 0))
        .await
        .map(drop)
        .expect_err("no stage");
    assert!(
        is(&status, Code::NotFound, "vmpool-reason", "UNKNOWN_STAGE"),
        "{status:?}"
    );
    runner.prepare(preparation()).await.expect("prepared");
    let status = Run::attach(&runner, attach("step", 0))
        .await
        .map(drop)
        .expect_err("no step");
    assert!(
        is(&status, Code::NotFound, "vmpool-reason", "UNKNOWN_STEP"),
        "{status:?}"
    );
    let cancel = CancelRequest {
        term: TERM,
        stage_id: STAGE.into(),
        step_id: "step".into(),
    };
    let status = runner.cancel(cancel).await.expect_err("no step");
    assert!(
        is(&status, Code::NotFound, "vmpool-reason", "UNKNOWN_STEP"),
        "{status:?}"
    );
}
