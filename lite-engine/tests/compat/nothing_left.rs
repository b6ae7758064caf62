//! P10: whatever a step does to stay, nothing of it is left once it is over.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Agent, Caller, eventually, lives, setup0, step_with};

/// What steps leave behind. Each notes its pid in `$PIDS`.
const STAYING: [(&str, &str); 4] = [
    (
        "ignores-requests",
        "trap '' TERM INT HUP; sh -c 'echo $$ >> $PIDS; while :; do sleep 0.1; done' &",
    ),
    (
        "leaves-its-session",
        "setsid sh -c 'trap \"\" TERM; echo $$ >> $PIDS; while :; do sleep 0.1; done' &",
    ),
    (
        "forks-twice",
        "(env -i PATH=\"$PATH\" PIDS=\"$PIDS\" setsid sh -c 'echo $$ >> $PIDS; exec sleep 300' \
         < /dev/null > /dev/null 2>&1 &)",
    ),
    (
        "holds-the-pipe",
        "(sh -c 'sh -c \"echo \\$\\$ >> $PIDS; exec sleep 300\" & wait' &)",
    ),
];

/// A step that leaves this behind, and then does that.
fn staying(agent: &Agent, id: &str, script: &str, then: &str, mut fields: Value) -> Value {
    let script = format!(
        "{script}\necho $$ >> $PIDS\nwhile [ $(wc -l < $PIDS) -lt 2 ]; do sleep 0.01; done\n{then}"
    );
    fields["environment"] = json!({"PIDS": pids_file(agent, id)});
    step_with(id, &script, fields)
}

fn pids_file(agent: &Agent, id: &str) -> PathBuf {
    agent.path(&format!("{id}.pids"))
}

fn pids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// All four of them, started in a stage of their own.
async fn started(agent: &Agent, caller: &Caller, then: &str, fields: Value) {
    caller.done("/setup", &setup0()).await;
    for (id, script) in STAYING {
        let step = staying(agent, id, script, then, fields.clone());
        caller.done("/start_step", &step).await;
    }
}

async fn all_run(agent: &Agent) {
    for (id, _) in STAYING {
        let file = pids_file(agent, id);
        eventually(id, || pids(&file).len() == 2).await;
        assert!(pids(&file).iter().all(|pid| lives(pid)), "{id}");
    }
}

fn none_is_left(agent: &Agent, end: &str) {
    for (id, _) in STAYING {
        let pids = pids(&pids_file(agent, id));
        assert_eq!(pids.len(), 2, "{id}");
        let left: Vec<_> = pids.iter().filter(|pid| lives(pid)).collect();
        assert!(left.is_empty(), "{end}: {id} leaves {left:?}");
    }
}

#[tokio::test]
async fn p10_of_steps_that_end_or_are_over_their_time_nothing_is_left() {
    for (then, timeout, code, error) in [
        ("exit 0", 0, json!(null), json!(null)),
        (
            "exec sleep 300",
            1,
            json!(255),
            json!("context deadline exceeded"),
        ),
    ] {
        let agent = Agent::start();
        let caller = agent.caller();
        started(&agent, &caller, then, json!({"timeout": timeout})).await;
        for (id, _) in STAYING {
            let answer = caller.done("/poll_step", &json!({"id": id})).await;
            assert_eq!(
                (&answer["exited"], &answer["exit_code"], &answer["error"]),
                (&json!(true), &code, &error),
                "{id}"
            );
        }
        none_is_left(&agent, then);
    }
}

#[tokio::test]
async fn c60_p10_of_steps_whose_stage_is_destroyed_nothing_is_left_in_front_or_behind() {
    for detached in [false, true] {
        let agent = Agent::start();
        let caller = agent.caller();
        started(
            &agent,
            &caller,
            "exec sleep 300",
            json!({"detach": detached}),
        )
        .await;
        all_run(&agent).await;
        caller.done("/destroy", &json!({})).await;
        none_is_left(&agent, "destroyed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_of_a_stage_whose_agent_was_killed_the_next_one_leaves_nothing() {
    let mut agent = Agent::start();
    started(&agent, &agent.caller(), "exec sleep 300", json!({})).await;
    all_run(&agent).await;
    tokio::task::block_in_place(|| agent.end(Signal::SIGKILL));
    agent.run();
    all_run(&agent).await;
    agent.caller().done("/destroy", &json!({})).await;
    none_is_left(&agent, "destroyed by the next agent");
}

#[tokio::test]
async fn p10_callers_that_leave_in_mid_destruction_leave_nothing_either() {
    let agent = Agent::start();
    let caller = agent.caller();
    started(
        &agent,
        &caller,
        "exec sleep 300",
        json!({"soft_stop": false}),
    )
    .await;
    all_run(&agent).await;
    let mut leaving = caller.open().await;
    // Once the first process is gone the caller was heard, and leaves.
    let first = pids_file(&agent, STAYING[0].0);
    let begun = async {
        while pids(&first).iter().all(|pid| lives(pid)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = leaving.send("POST", "/destroy", "{}") => {}
        () = begun => {}
    }
    drop(leaving);
    for (id, _) in STAYING {
        let file = pids_file(&agent, id);
        eventually(id, || pids(&file).iter().all(|pid| !lives(pid))).await;
    }
}
