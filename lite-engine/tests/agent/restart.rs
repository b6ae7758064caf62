//! P4: an agent that is restarted goes on where the last one was.

use vmpool_proto::agent::v1::{CleanupRequest, OpenRequest, PrepareRequest};

use crate::support::{
    Disk, Run, STAGE, TERM, attach, exited, is, preparation, run, shell, variables,
};

#[tokio::test]
async fn p4_a_step_goes_on_over_the_restart_and_no_byte_is_lost_or_doubled() {
    let disk = Disk::new();
    let (agent, mut runner) = disk.ruled().await;
    let request = PrepareRequest {
        env: variables([("WHO", "stage")]),
        ..preparation()
    };
    runner.prepare(request.clone()).await.expect("prepared");
    let script = "seq 1000; while ! test -e go; do sleep 0.01; done; seq 1001 2000; exit 5";
    let mut before = Run::start(&runner, shell("step", script))
        .await
        .expect("started");
    before.lines(1000).await.expect("lines");
    agent.close().await;
    drop((
        agent,
        runner,
        before.end().await.expect_err("the agent stops"),
    ));

    let (_agent, mut runner) = disk.ruled().await;
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert_eq!(report.stage_id.as_deref(), Some(STAGE));
    assert!(report.prepared);
    assert_eq!(report.steps[0].ended, None);
    assert_eq!(report.steps[0].log_end, before.log.len() as u64);
    let from = before.log.len() as u64;
    let mut after = Run::attach(&runner, attach("step", from))
        .await
        .expect("attached");
    // The stage is known as it was: a new step finds its folder and environment.
    let (ended, log) = run(&runner, shell("go", "touch go; echo $WHO")).await;
    assert!(exited(&ended, 0));
    assert_eq!(log, "stage\n");
    assert!(exited(&after.end().await.expect("ended"), 5));
    let log = before.text() + &after.text();
    assert_eq!(log.lines().count(), 2000);
    assert!(
        log.lines()
            .zip(1..)
            .all(|(line, number)| line == number.to_string())
    );
    runner.prepare(request).await.expect("a repeat is no error");
}

#[tokio::test]
async fn p5_results_are_the_same_after_a_restart() {
    let disk = Disk::new();
    let (agent, mut runner) = disk.prepared().await;
    // It exits by itself when it is asked to end, and was cancelled all the same.
    let script = "trap 'exit 0' TERM; echo begun; while :; do sleep 0.01; done";
    let mut step = Run::start(&runner, shell("cancelled", script))
        .await
        .expect("started");
    step.lines(1).await.expect("a line");
    let cleanup = CleanupRequest {
        term: TERM,
        stage_id: STAGE.into(),
    };
    runner.cleanup(cleanup).await.expect("cleaned up");
    let ended = step.end().await.expect("ended");
    agent.close().await;

    let (_agent, mut runner) = disk.ruled().await;
    let mut again = Run::attach(&runner, attach("cancelled", 0))
        .await
        .expect("attached");
    assert_eq!(again.end().await.expect("ended"), ended);
    assert_eq!(again.log, step.log);
    assert!(again.text().starts_with("begun\n"));
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert!(report.ended);
}

#[tokio::test]
async fn p5_a_retry_is_told_from_another_step_also_after_a_restart() {
    let disk = Disk::new();
    let (agent, runner) = disk.prepared().await;
    let first = run(&runner, shell("step", "echo once | tee -a count")).await;
    agent.close().await;
    let (_agent, runner) = disk.ruled().await;
    assert_eq!(
        run(&runner, shell("step", "echo once | tee -a count")).await,
        first
    );
    let changed = Run::start(&runner, shell("step", "true")).await.map(drop);
    let status = changed.expect_err("a conflict");
    assert!(
        is(
            &status,
            tonic::Code::AlreadyExists,
            "vmpool-field",
            "command"
        ),
        "{status:?}"
    );
    assert_eq!(run(&runner, shell("count", "cat count")).await.1, "once\n");
}

#[tokio::test]
async fn p2_the_term_outlives_the_agent() {
    let disk = Disk::new();
    let (agent, _) = disk.ruled().await;
    agent.close().await;
    let agent = disk.agent();
    agent.on_enrolled()();
    let lower = crate::support::runner(&agent)
        .open(OpenRequest { term: TERM - 1 })
        .await;
    let status = lower.expect_err("fenced");
    assert!(
        is(&status, tonic::Code::FailedPrecondition, "vmpool-term", "7"),
        "{status:?}"
    );
}

#[tokio::test]
async fn p2_an_agent_whose_fence_can_t_be_read_ends_its_machine() {
    let disk = Disk::new();
    let (agent, _) = disk.prepared().await;
    agent.close().await;
    std::fs::write(disk.path().join("agent/fence"), "damaged").expect("written");
    let agent = disk.agent();
    let over = tokio::time::timeout(crate::support::LONG, agent.over())
        .await
        .expect("over");
    assert!(
        matches!(over, vmpool_core::agent::EndReason::StateLost { .. }),
        "{over}"
    );
}
