//! Signals: the first cancels and cleans up, the second stops at once, and
//! neither leaves anything behind.

use nix::sys::signal::Signal;

use crate::support::{Project, Running, processes_with, wait_for};

/// A project whose step sleeps, and the mark of that sleep.
fn sleeping(test: u32, command: &str) -> (Project, String) {
    let sleep = format!("87654.{}{test:02}", std::process::id());
    let project = Project::with_steps(&format!(
        "- name: wait\n  commands:\n  - {}\n\
         - name: after\n  commands: [echo after]\n\
         - name: notify\n  commands: [echo notified]\n  when: {{status: [failure]}}\n",
        command.replace("SLEEP", &format!("sleep {sleep}"))
    ));
    (project, sleep)
}

fn until_it_sleeps(run: &mut Running, sleep: &str) {
    run.wait_for_output("+ ");
    wait_for("the step", || {
        (!processes_with(sleep).is_empty()).then_some(())
    });
}

#[test]
fn the_first_signal_cancels_and_cleans_up() {
    for (test, signal, name) in [
        (1, Signal::SIGINT, "SIGINT"),
        (2, Signal::SIGTERM, "SIGTERM"),
        (3, Signal::SIGHUP, "SIGHUP"),
    ] {
        let (project, sleep) = sleeping(test, "SLEEP");
        let mut run = project.start(&[]);
        until_it_sleeps(&mut run, &sleep);
        run.signal(signal);
        run.end()
            .ended_with(130)
            .says(&format!(
                "{name}: cancelling and cleaning up; once more stops at once"
            ))
            .says("wait: cancelled: interrupted")
            .says("after: skipped: interrupted")
            .says("notify: skipped: interrupted")
            .says("test: cancelled on machine local-")
            .says("interrupted in ");
        assert!(processes_with(&sleep).is_empty());
        project.wait_until_nothing_is_left();
        assert!(project.states().is_empty(), "{:?}", project.states());
    }
}

#[test]
fn the_second_signal_stops_at_once_and_nothing_is_left() {
    // Without the shell's help, so that the first signal is not enough for long.
    let (project, sleep) = sleeping(4, "trap '' TERM INT; while :; do SLEEP; done");
    let mut run = project.start(&[]);
    until_it_sleeps(&mut run, &sleep);
    run.signal(Signal::SIGINT);
    run.wait_for_output("cancelling");
    run.signal(Signal::SIGINT);
    let ran = run.end();
    assert_eq!(ran.code, Some(130), "{ran}");
    wait_for("the end of the sleep", || {
        processes_with(&sleep).is_empty().then_some(())
    });
    project.wait_until_nothing_is_left();
}

#[test]
fn a_signal_while_the_pool_warms_ends_the_run_too() {
    let (project, _) = sleeping(5, "SLEEP");
    let mut run = project.start(&[]);
    run.wait_for_output("pool:");
    run.signal(Signal::SIGTERM);
    run.end().ended_with(130);
    project.wait_until_nothing_is_left();
    assert!(project.states().is_empty(), "{:?}", project.states());
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let (project, sleep) = sleeping(6, "yes & SLEEP");
    let script = format!("exec {} exec | head -n 20", env!("CARGO_BIN_EXE_vmpool"));
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(project.path())
        .env("TMPDIR", project.tmp());
    Running::start(command).end().ended_with(0);
    wait_for("the end of the sleep", || {
        processes_with(&sleep).is_empty().then_some(())
    });
    project.wait_until_nothing_is_left();
}
