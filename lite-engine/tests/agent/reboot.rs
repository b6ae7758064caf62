//! P4, P10: what an agent finds after its machine was restarted.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmpool_proto::agent::v1::OpenRequest;
use vmpool_proto::agent::v1::step_ended::How;

use crate::support::{Disk, Run, TERM, attach, exited, run, shell};

#[tokio::test]
async fn p4_after_a_restart_of_the_machine_steps_that_ran_are_lost_and_the_results_of_others_stay()
{
    let disk = Disk::new();
    let (agent, runner) = disk.prepared().await;
    let before = run(&runner, shell("before", "echo done; exit 4")).await;
    let mut during = Run::start(
        &runner,
        shell("during", "echo $PPID; echo $$; exec sleep 1000"),
    )
    .await
    .expect("started");
    during.lines(2).await.expect("the pids");
    agent.close().await;
    // Its holder stays, as a process of the next boot that happens to be like it.
    disk.restart_machine();

    let (agent, mut runner) = disk.ruled().await;
    let mut again = Run::attach(&runner, attach("during", 0))
        .await
        .expect("attached");
    let ended = again.end().await.expect("ended");
    assert_eq!(ended.how(), How::Lost);
    assert_eq!(ended.reason, "the machine was restarted");
    assert_eq!(again.log, during.log);
    let mut again = Run::attach(&runner, attach("before", 0))
        .await
        .expect("attached");
    let ended = again.end().await.expect("ended");
    assert!(exited(&ended, 4));
    assert_eq!((ended, again.text()), before);

    // The stage is over, and its end disturbs nobody.
    let refused = Run::start(&runner, shell("after", "true")).await.map(drop);
    refused.expect_err("the stage has ended");
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert!(report.ended);
    for line in during.text().lines() {
        let pid = Pid::from_raw(line.parse().expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("it is nobody's, so it lives");
    }

    // Every further agent says the same.
    agent.close().await;
    let (_agent, runner) = disk.ruled().await;
    let mut again = Run::attach(&runner, attach("during", 0))
        .await
        .expect("attached");
    let ended = again.end().await.expect("ended");
    assert_eq!(ended.reason, "the machine was restarted");
}
