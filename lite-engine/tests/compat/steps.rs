//! Steps on the machine itself, from their start to their result.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Agent, content, eventually, lives, setup0, step, step_with};

#[tokio::test]
async fn c16_c17_c18_a_result_is_told_at_once_and_always_the_same() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    caller.done("/start_step", &step("a", "exit 0")).await;
    let answer = caller.post("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer.text(), "{\n  \"exited\": true\n}\n");
    caller.done("/start_step", &step("b", "exit 3")).await;
    let expected = json!({
        "exited": true, "exit_code": 3,
        "error": "1 error occurred:\n\t* exit status 3\n\n",
    });
    for _ in 0..3 {
        assert_eq!(
            caller.done("/poll_step", &json!({"id": "b"})).await,
            expected
        );
    }
}

#[tokio::test]
async fn c20_a_step_that_is_started_twice_runs_once() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let file = agent.path("runs");
    let step = step("a", &format!("echo ran >> {}; sleep 0.2", file.display()));
    let (first, second) = tokio::join!(
        caller.post("/start_step", &step),
        caller.post("/start_step", &step)
    );
    assert_eq!(
        (first.text().as_str(), second.text().as_str()),
        ("{}\n", "{}\n")
    );
    caller.done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(caller.done("/start_step", &step).await, json!({}));
    assert_eq!(std::fs::read_to_string(&file).expect("it ran"), "ran\n");
}

#[tokio::test]
async fn c21_another_step_of_the_same_id_is_a_conflict_that_names_the_field() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.run(&step("a", "exit 1")).await;
    let answer = caller.post("/start_step", &step("a", "exit 2")).await;
    answer.is_refusal(
        409,
        "a step of this id was started before with another `run`",
    );
    let answer = caller.done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer["exit_code"], 1);
}

#[tokio::test]
async fn c21_a_stage_after_a_destroyed_one_has_steps_of_its_own() {
    let agent = Agent::start();
    let caller = agent.caller();
    assert_eq!(caller.run(&step("a", "exit 1")).await["exit_code"], 1);
    caller.done("/destroy", &json!({})).await;
    let answer = caller.post("/start_step", &step("b", "true")).await;
    answer.is_refusal(400, "the stage was destroyed; set it up again");
    // What is over can still be asked for.
    assert_eq!(
        caller.done("/poll_step", &json!({"id": "a"})).await["exit_code"],
        1
    );
    assert_eq!(caller.run(&step("a", "exit 2")).await["exit_code"], 2);
}

#[tokio::test]
async fn c22_c23_all_who_wait_are_answered_when_it_ends() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let gate = agent.path("gate");
    let script = format!(
        "until [ -e {} ]; do sleep 0.01; done; exit 4",
        gate.display()
    );
    caller.done("/start_step", &step("a", &script)).await;
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let caller = caller.clone();
        polls.spawn(async move { caller.done("/poll_step", &json!({"id": "a"})).await });
    }
    // One that leaves takes nobody along.
    let mut leaving = caller.open().await;
    let body = json!({"id": "a"}).to_string();
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        leaving.send("POST", "/poll_step", &body),
    );
    assert!(left.await.is_err(), "the step runs");
    drop(leaving);
    assert!(polls.try_join_next().is_none(), "the step runs");
    std::fs::write(gate, "").expect("opened");
    for answer in polls.join_all().await {
        assert_eq!(answer["exit_code"], 4);
    }
}

async fn with_entrypoint(entrypoint: Value) -> Value {
    let agent = Agent::start();
    let run = json!({"entrypoint": entrypoint, "commands": ["x"]});
    agent
        .caller()
        .run(&step_with("a", "", json!({"run": run})))
        .await
}

#[tokio::test]
async fn c24_programs_that_are_not_there() {
    let answer = with_entrypoint(json!(["/nope"])).await;
    assert_eq!(
        (&answer["exited"], &answer["exit_code"]),
        (&json!(true), &json!(255))
    );
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("no such file or directory"), "{error}");
    let answer = with_entrypoint(json!(["nope-nowhere"])).await;
    let error = answer["error"].as_str().expect("an error");
    assert_eq!(
        error,
        "exec: \"nope-nowhere\": executable file not found in $PATH"
    );
}

#[tokio::test]
async fn c25_a_step_without_a_program() {
    let answer = with_entrypoint(json!([])).await;
    let expected = json!({
        "exited": true, "exit_code": 255, "error": "step entrypoint cannot be empty",
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn c26_a_step_that_a_signal_ends() {
    let agent = Agent::start();
    let answer = agent.caller().run(&step("k", "kill -9 $$")).await;
    assert_eq!(answer["exit_code"], -1);
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("exit status -1"), "{error}");
}

#[tokio::test]
async fn c27_p10_a_step_that_is_over_its_time_is_ended_with_all_that_it_started() {
    let agent = Agent::start();
    let pids = agent.path("pids");
    // One that ignores the request, one in a session of its own, one that holds the pipe.
    let script = format!(
        "trap '' TERM; setsid sleep 300 & echo $! >> {0}; (sleep 300 & echo $! >> {0}); \
         echo $$ >> {0}; while :; do sleep 0.1; done",
        pids.display()
    );
    let begun = Instant::now();
    let answer = agent
        .caller()
        .run(&step_with("t", &script, json!({"timeout": 1})))
        .await;
    let expected = json!({
        "exited": true, "exit_code": 255, "error": "context deadline exceeded",
    });
    assert_eq!(answer, expected);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let pids = std::fs::read_to_string(pids).expect("pids");
    assert_eq!(pids.lines().count(), 3, "{pids}");
    assert!(pids.lines().all(|pid| !lives(pid)), "left: {pids}");
}

#[tokio::test]
async fn c27_w9_processes_have_the_time_to_end_that_the_request_gives() {
    let agent = Agent::start();
    let config = json!({
        "kill_process_on_context_cancel": true, "kill_process_max_sigterm_attempts": 2,
        "kill_process_retry_interval_secs": 20,
    });
    let file = agent.path("ended");
    let script = format!(
        "trap 'sleep 3; echo well > {}; exit' TERM; sleep 300 & wait",
        file.display()
    );
    let fields = json!({"timeout": 1, "process_config": config});
    let answer = agent.caller().run(&step_with("t", &script, fields)).await;
    assert_eq!(answer["error"], "context deadline exceeded");
    assert_eq!(
        std::fs::read_to_string(file).expect("it ended well"),
        "well\n"
    );
}

#[tokio::test]
async fn c28_a_step_without_environment_or_setup_runs() {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut step = step("a", "echo here");
    step.as_object_mut()
        .expect("an object")
        .remove("environment");
    assert_eq!(caller.run_next(&step).await, json!({"exited": true}));
    assert_eq!(caller.output("a").await, "here\n");
}

#[tokio::test]
async fn c29_empty_variables_are_dropped_unless_they_are_wanted() {
    let agent = Agent::start();
    let caller = agent.caller();
    let script = "env | grep -E '^(A|E)=' | sort";
    let env = json!({"environment": {"A": "1", "E": ""}});
    assert_eq!(
        caller.output_of(&step_with("a", script, env)).await,
        "A=1\n"
    );
    let flag = "CI_USE_LESS_STRICT_EVALUATION_FOR_MAP_VARS";
    let env = json!({"environment": {"A": "1", "E": "", flag: "true"}});
    assert_eq!(
        caller.output_of(&step_with("b", script, env)).await,
        "A=1\nE=\n"
    );
}

#[tokio::test]
async fn c30_the_steps_environment_is_above_the_stages_above_the_agents() {
    let agent = Agent::start_with(&[("FROM_AGENT", "e"), ("B", "e")]);
    let caller = agent.caller();
    let mut setup = setup0();
    setup["envs"] = json!({"A": "g", "B": "g"});
    caller.done("/setup", &setup).await;
    let script = "echo $A $B $FROM_AGENT; test -n \"$PATH\"";
    let step = step_with("a", script, json!({"environment": {"A": "s"}}));
    assert_eq!(caller.run_next(&step).await, json!({"exited": true}));
    assert_eq!(caller.output("a").await, "s g e\n");
}

#[tokio::test]
async fn c31_commands_are_further_arguments() {
    let agent = Agent::start();
    let run = json!({"entrypoint": ["sh", "-c"], "commands": ["echo $0", "c2"]});
    let output = agent
        .caller()
        .output_of(&step_with("a", "", json!({"run": run})))
        .await;
    assert_eq!(output, "c2\n");
}

#[tokio::test]
async fn c54_a_step_in_the_background_is_answered_at_once_and_its_end_later() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let (pid, gate) = (agent.path("pid"), agent.path("gate"));
    let script = format!(
        "echo $$ > {}; until [ -e {} ]; do sleep 0.01; done; exit 7",
        pid.display(),
        gate.display()
    );
    caller
        .done(
            "/start_step",
            &step_with("a", &script, json!({"detach": true})),
        )
        .await;
    let answer = caller.post("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer.text(), "{}\n");
    let running = content(&pid).await;
    // It goes on beside others.
    assert_eq!(
        caller.run_next(&step("b", "true")).await,
        json!({"exited": true})
    );
    assert!(lives(&running));
    std::fs::write(gate, "").expect("opened");
    eventually("its end", || !lives(&running)).await;
    loop {
        let answer = caller.done("/poll_step", &json!({"id": "a"})).await;
        if answer != json!({}) {
            assert_eq!(answer["exit_code"], 7);
            break;
        }
    }
}

#[tokio::test]
async fn w36_a_step_of_another_user_has_that_users_groups_only() {
    let agent = Agent::start();
    let caller = agent.caller();
    open_up(&agent);
    for (id, user, expected) in [
        ("a", "54321", "54321 54321 54321\n"),
        ("b", "54321:54322", "54321 54322 54322\n"),
        ("c", "nobody", "65534 65534 65534\n"),
    ] {
        let fields = json!({"user": user, "working_dir": "/"});
        let output = caller
            .output_of(&step_with(id, "echo $(id -u) $(id -g) $(id -G)", fields))
            .await;
        assert_eq!(output, expected);
    }
    let fields = json!({"user": "nobody-has-this-name", "working_dir": "/"});
    let answer = caller.run(&step_with("d", "true", fields)).await;
    assert_eq!(answer["exit_code"], 255);
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("no such user"), "{error}");
}

/// Lets other users into the agent's folder, as they get into `/tmp/engine`.
pub(crate) fn open_up(agent: &Agent) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(agent.folder(), permissions).expect("set");
}

#[tokio::test]
async fn p13_a_working_directory_that_is_not_there_is_named() {
    let agent = Agent::start();
    let answer = agent
        .caller()
        .run(&step_with("a", "true", json!({"working_dir": "/nowhere"})))
        .await;
    let expected = json!({
        "exited": true, "exit_code": 255, "error": "chdir /nowhere: no such file or directory",
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_steps_files_are_there_when_it_begins() {
    let agent = Agent::start();
    let file = agent.path("deep/script");
    let files = json!([{"path": file, "mode": 493, "data": "#!/bin/sh\necho from a file\n"}]);
    let step = step_with("a", &file.display().to_string(), json!({"files": files}));
    assert_eq!(agent.caller().output_of(&step).await, "from a file\n");
}

#[tokio::test]
async fn steps_in_containers_are_refused_in_words() {
    let agent = Agent::start();
    let answer = agent
        .caller()
        .run(&step_with("a", "true", json!({"image": "alpine"})))
        .await;
    assert_eq!(answer["exit_code"], 255);
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("image alpine"), "{error}");
}

#[tokio::test]
async fn all_tests_are_run_for_both_kinds_of_test_steps() {
    let agent = Agent::start();
    let caller = agent.caller();
    let run = json!({"entrypoint": ["sh", "-c"], "commands": ["echo tested"]});
    let fields = json!({"kind": "RunTestsV2", "run_test_v2": run, "run": {}});
    assert_eq!(
        caller.output_of(&step_with("a", "", fields)).await,
        "tested\n"
    );
    let tests = json!({
        "language": "python", "build_tool": "unittest", "args": "--help >/dev/null",
        "pre_command": "echo before", "post_command": "echo after",
    });
    let fields = json!({"kind": "RunTest", "run_test": tests, "run": {}});
    assert_eq!(
        caller.output_of(&step_with("b", "", fields)).await,
        "before\nafter\n"
    );
}
