//! What is killed: agents, steps, and `vmpool exec` itself.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Project, processes_with, wait_for};

/// An argument of `sleep` that no other process of the host has.
fn unique_sleep(test: u32) -> String {
    format!("98765.{}{test:02}", std::process::id())
}

#[test]
fn killing_the_agent_in_mid_step_gives_a_clear_error() {
    let sleep = unique_sleep(1);
    let project = Project::with_steps(&format!(
        "- name: wait\n  commands: ['sleep {sleep}']\n- name: after\n  commands: [echo after]\n"
    ));
    let mut run = project.start(&[]);
    run.wait_for_output("+ sleep");
    wait_for("the step", || {
        (!processes_with(&sleep).is_empty()).then_some(())
    });
    let agents = processes_with(" run-machine local-");
    let ours = project.processes();
    let agent = agents
        .iter()
        .find(|agent| ours.contains(agent))
        .expect("an agent");
    kill(Pid::from_raw(agent.0), Signal::SIGKILL).unwrap();

    run.end()
        .ended_with(3)
        .says("wait: failed: machine local-")
        .says(" was lost: ")
        .says("after: skipped: the machine was lost")
        .says("test: failed on machine local-");
    project.wait_until_nothing_is_left();
}

#[test]
fn p10_killing_exec_leaves_no_agent_and_no_step_even_one_that_forked_twice() {
    let sleep = unique_sleep(2);
    let project = Project::with_steps(&format!(
        "- name: wait\n  commands:\n  - (setsid sh -c 'sleep {sleep} & sleep {sleep} & wait' &) &\n  - sleep {sleep}\n"
    ));
    let run = project.start(&[]);
    wait_for("three sleeps and their shell", || {
        (processes_with(&sleep).len() >= 4).then_some(())
    });
    run.signal(Signal::SIGKILL);
    assert_eq!(run.end().code, None);
    wait_for("the end of the sleeps", || {
        processes_with(&sleep).is_empty().then_some(())
    });
    project.wait_until_nothing_is_left();

    // The next run removes what this one could not.
    assert_eq!(project.states().len(), 1);
    project.write(
        "other.yml",
        "kind: pipeline\nsteps:\n- name: a\n  commands: [echo next]\n",
    );
    project.exec(&["other.yml"]).ended_with(0);
    assert!(project.states().is_empty(), "{:?}", project.states());
}

#[test]
fn p10_a_step_over_its_time_leaves_no_process() {
    let sleep = unique_sleep(3);
    let project = Project::with_steps(&format!(
        "- name: wait\n  timeout: 1s\n  commands: ['sleep {sleep} & sleep {sleep}']\n\
         - name: look\n  commands: ['! pgrep -f \"^sleep {sleep}\"']\n  when: {{status: [failure]}}\n"
    ));
    let ran = project
        .exec(&[])
        .ended_with(1)
        .says("failed: over its time of 1.0 s");
    assert!(processes_with(&sleep).is_empty());
    ran.says("look: succeeded");
}

#[test]
fn p10_a_pipeline_over_its_time_leaves_no_process() {
    let sleep = unique_sleep(4);
    let steps = format!(
        "- name: wait\n  commands: ['sleep {sleep}']\n- name: after\n  commands: [echo A]\n"
    );
    let project = Project::with_steps(&steps);
    project
        .exec(&["--timeout", "1s"])
        .ended_with(1)
        .says("wait: failed: the pipeline was over its time of 1.0 s")
        .says("after: skipped: the pipeline was over its time of 1.0 s")
        .says(": the pipeline was over its time of 1.0 s");
    let project = Project::new(&format!(
        "kind: pipeline\nname: test\ntimeout: 1s\nsteps:\n{steps}"
    ));
    project
        .exec(&[])
        .ended_with(1)
        .says(": the pipeline was over its time of 1.0 s");
    assert!(processes_with(&sleep).is_empty());
}

#[test]
fn p10_what_a_step_leaves_in_the_background_ends_with_its_step() {
    let sleep = unique_sleep(5);
    let project = Project::with_steps(&format!(
        "- name: start\n  commands: ['sleep {sleep} &']\n- name: next\n  commands: [echo next]\n"
    ));
    project.exec(&[]).ended_with(0).says("next");
    assert!(processes_with(&sleep).is_empty());
}
