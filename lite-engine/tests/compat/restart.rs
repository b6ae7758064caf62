//! An agent that is killed, and the one after it (P4).

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Agent, content, lives, setup0, step, step_with};

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_killed_agent_loses_neither_result_nor_log_nor_what_is_returned() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    let mut setup = setup0();
    setup["secrets"] = json!(["s3cret-value"]);
    setup["envs"] = json!({"FROM_SETUP": "yes"});
    caller.done("/setup", &setup).await;
    assert_eq!(
        caller.run_next(&step("before", "echo done; exit 6")).await["exit_code"],
        6
    );
    let (pid, gate) = (agent.path("pid"), agent.path("gate"));
    let script = format!(
        "for i in $(seq 1000); do echo line $i; done; echo $$ > {}; \
         until [ -e {} ]; do sleep 0.01; done; echo s3cret-value; echo last; \
         echo X=5 > $DRONE_OUTPUT; echo E=6 > $DRONE_ENV; exit 3",
        pid.display(),
        gate.display()
    );
    caller.done("/start_step", &step("during", &script)).await;
    let pid = content(&pid).await;
    agent.end(Signal::SIGKILL);
    assert!(lives(&pid));
    agent.run();
    let caller = agent.caller();
    assert_eq!(
        caller.done("/poll_step", &json!({"id": "before"})).await["exit_code"],
        6
    );
    assert_eq!(caller.output("before").await, "done\n");
    // The same request is the same step; another is not.
    assert_eq!(
        caller.done("/start_step", &step("during", &script)).await,
        json!({})
    );
    assert_eq!(
        caller
            .post("/start_step", &step("during", "true"))
            .await
            .status,
        409
    );

    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let caller = caller.clone();
        polls.spawn(async move { caller.done("/poll_step", &json!({"id": "during"})).await });
    }
    let reading = caller.clone();
    let mut read = tokio::task::JoinSet::new();
    read.spawn(async move { reading.output("during").await });
    std::fs::write(gate, "").expect("opened");
    for answer in polls.join_all().await {
        assert_eq!(answer["exit_code"], 3);
        assert_eq!(answer["outputs"], json!({"X": "5"}));
    }
    let output = read.join_next().await.expect("asked").expect("answered");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 1002, "{output}");
    assert_eq!((lines[999], lines[1001]), ("line 1000", "last"));
    assert!(!output.contains("s3cret"), "{output}");
    // The setup and what was exported are still there.
    let step = step("after", "echo $FROM_SETUP $E s3cret-value");
    assert_eq!(caller.run_next(&step).await, json!({"exited": true}));
    let output = caller.output("after").await;
    assert!(
        output.starts_with("yes 6 *") && !output.contains("s3cret"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_what_ended_while_there_was_no_agent_is_told_by_the_next() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let (pid, gate) = (agent.path("pid"), agent.path("gate"));
    let script = format!(
        "echo $$ > {}; until [ -e {} ]; do sleep 0.01; done; printf end; exit 9",
        pid.display(),
        gate.display()
    );
    caller.done("/start_step", &step("a", &script)).await;
    let pid = content(&pid).await;
    agent.end(Signal::SIGKILL);
    std::fs::write(gate, "").expect("opened");
    crate::support::eventually("its end", || !lives(&pid)).await;
    agent.run();
    let answer = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exit_code"], 9);
    assert_eq!(agent.caller().output("a").await, "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_stage_can_be_destroyed_after_a_restart() {
    let mut agent = Agent::start();
    let caller = agent.caller();
    let pid = agent.path("pid");
    let script = format!("setsid sleep 300 & echo $! > {}; wait", pid.display());
    caller
        .done(
            "/start_step",
            &step_with("a", &script, json!({"detach": true})),
        )
        .await;
    let pid = content(&pid).await;
    agent.end(Signal::SIGKILL);
    agent.run();
    agent.caller().done("/destroy", &json!({})).await;
    assert!(!lives(&pid));
    agent.end(Signal::SIGKILL);
    agent.run();
    // It stays destroyed.
    let answer = agent.caller().post("/start_step", &step("b", "true")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let next: Value = agent.caller().run(&step("b", "true")).await;
    assert_eq!(next, json!({"exited": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_what_is_kept_on_the_disk_is_for_the_agent_alone() {
    use std::os::unix::fs::PermissionsExt;
    let agent = Agent::start();
    let mut setup = setup0();
    setup["secrets"] = json!(["s3cret-value"]);
    agent.caller().done("/setup", &setup).await;
    agent.caller().run_next(&step("a", "true")).await;
    let mode = |path: &str| {
        let metadata = std::fs::metadata(agent.path(path)).expect("there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("state/compat"), 0o700);
    assert_eq!(mode("state/compat/stages/1/journal"), 0o600);
}
