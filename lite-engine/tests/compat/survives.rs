//! What outlives the agent, and what the machine's restart ends (P4, P10).

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Agent, content, eventually, lives, setup0, step, step_with};

/// Where the first stage is in the agent's folder.
const STAGE: &str = "state/compat/stages/1";

/// Prints a lot, says its pid, waits for the file, and prints on.
fn long_step(agent: &Agent) -> String {
    format!(
        "seq 5000; echo $$ > {}; until [ -e {} ]; do sleep 0.01; done; seq 5001 9000; exit 3",
        agent.path("pid").display(),
        agent.path("go").display()
    )
}

fn whole_log() -> String {
    let numbers: Vec<String> = (1..=9000).map(|number| number.to_string()).collect();
    numbers.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_kill_9_of_the_agent_in_mid_step_and_restart_the_result_and_the_whole_log_still_arrive()
{
    let mut agent = Agent::start();
    agent.caller().done("/setup", &setup0()).await;
    let step = step("a", &long_step(&agent));
    agent.caller().done("/start_step", &step).await;
    // Again and again, while it prints and while it waits.
    for _ in 0..3 {
        agent.end(Signal::SIGKILL);
        agent.run();
    }
    content(&agent.path("pid")).await;
    agent.end(Signal::SIGKILL);
    agent.run();
    fs::write(agent.path("go"), "").expect("written");
    let answer = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exit_code"], 3, "{answer}");
    assert!(agent.caller().output("a").await == whole_log(), "the log");
    agent.end(Signal::SIGKILL);
    agent.run();
    let again = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(again, answer);
    assert!(agent.caller().output("a").await == whole_log(), "the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_timeout_and_destroy_of_a_step_reach_it_through_the_next_agent() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let script = |name: &str| format!("echo $$ > {}; sleep 300", agent.path(name).display());
    let timed = step_with("timed", &script("timed"), json!({"timeout": 2}));
    let endless = step("endless", &script("endless"));
    caller.done("/start_step", &timed).await;
    caller.done("/start_step", &endless).await;
    let timed = content(&agent.path("timed")).await;
    let endless = content(&agent.path("endless")).await;
    agent.end(Signal::SIGKILL);
    agent.run();
    let caller = agent.caller();
    let answer = caller.done("/poll_step", &json!({"id": "timed"})).await;
    assert_eq!(answer["error"], "context deadline exceeded", "{answer}");
    assert!(!lives(&timed) && lives(&endless));
    caller.done("/destroy", &json!({})).await;
    assert!(!lives(&endless));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_in_mid_stream_harms_nobody() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    caller
        .done("/start_step", &step("a", &long_step(&agent)))
        .await;
    content(&agent.path("pid")).await;
    let question = json!({"id": "a", "offset": 0}).to_string();
    for _ in 0..5 {
        let mut leaves = caller.open().await;
        let begun = leaves.send("POST", "/stream_output", &question).await;
        assert_eq!(begun.status(), 200);
        drop((begun, leaves));
    }
    fs::write(agent.path("go"), "").expect("written");
    let answer = caller.done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exit_code"], 3, "{answer}");
    assert!(caller.output("a").await == whole_log(), "the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pollers_of_one_step_all_answer() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    caller
        .done("/start_step", &step("a", &long_step(&agent)))
        .await;
    content(&agent.path("pid")).await;
    let mut pollers = JoinSet::new();
    for _ in 0..10 {
        let caller = caller.clone();
        pollers.spawn(async move { caller.done("/poll_step", &json!({"id": "a"})).await });
    }
    fs::write(agent.path("go"), "").expect("written");
    for answer in pollers.join_all().await {
        assert_eq!(answer["exit_code"], 3, "{answer}");
    }
}

/// As if the agent had been killed before it began the step: it was asked for,
/// and nothing more is known.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_step_that_was_taken_on_and_not_begun_is_carried_out_by_the_next_agent() {
    let mut agent = Agent::start();
    let count = agent.path("count");
    let script = format!("echo once >> {}; exit 5", count.display());
    agent.caller().run(&step("a", &script)).await;
    agent.end(Signal::SIGKILL);
    let journal = agent.path(STAGE).join("journal");
    let told = fs::read_to_string(&journal).expect("a journal");
    let asked = told.lines().filter(|line| line.contains("\"asked\":{"));
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked.len(), 1, "{told}");
    fs::write(&journal, asked.concat() + "\n").expect("written");
    fs::remove_dir_all(agent.path(STAGE).join("host")).expect("removed");
    fs::remove_file(&count).expect("removed");

    agent.run();
    let answer = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exit_code"], 5, "{answer}");
    assert_eq!(fs::read_to_string(&count).expect("there"), "once\n");
}

/// As if the agent had been killed right after it noted the stage's end.
#[tokio::test(flavor = "multi_thread")]
async fn p10_a_stage_whose_end_a_kill_interrupted_is_ended_by_the_next_agent() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let script = format!("echo $$ > {}; sleep 300", agent.path("pid").display());
    caller.done("/start_step", &step("a", &script)).await;
    let pid = content(&agent.path("pid")).await;
    agent.end(Signal::SIGKILL);
    let journal = agent.path(STAGE).join("journal");
    let journal = OpenOptions::new().append(true).open(journal);
    writeln!(journal.expect("a journal"), "\"destroyed\"").expect("written");

    agent.run();
    eventually("the step's end", || !lives(&pid)).await;
    let answer = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exited"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_after_a_restart_of_the_machine_steps_that_ran_are_lost_and_answers_stay() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let before = caller.run_next(&step("before", "echo x; exit 6")).await;
    let script = format!(
        "echo begun; echo $$ > {}; sleep 300",
        agent.path("pid").display()
    );
    caller.done("/start_step", &step("during", &script)).await;
    let pid = content(&agent.path("pid")).await;
    agent.end(Signal::SIGKILL);
    // Another boot is one with another id than the agent before wrote down. The
    // step's holder stays, as a process that happens to be like it.
    let records = agent.path(STAGE).join("host/records");
    let told = fs::read_to_string(&records).expect("the records");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot's id");
    assert!(told.contains(boot.trim()), "{told}");
    fs::write(&records, told.replace(boot.trim(), "an-earlier-boot")).expect("written");

    agent.run();
    let caller = agent.caller();
    let answer = caller.done("/poll_step", &json!({"id": "during"})).await;
    assert_eq!(answer["exit_code"], 255, "{answer}");
    let error = answer["error"].as_str().expect("a reason");
    assert!(error.contains("the machine was restarted"), "{error}");
    assert_eq!(caller.output("during").await, "begun\n");
    let again = caller.done("/poll_step", &json!({"id": "before"})).await;
    assert_eq!(again, before);
    assert_eq!(caller.output("before").await, "x\n");
    assert!(lives(&pid), "a process of another boot is nobody's to end");
    caller.done("/destroy", &json!({})).await;
}
