//! `/step`: cases 21 to 24.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Site, step, wait_for};

#[tokio::test]
async fn case_21_an_exit_code_is_told_with_200() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    site.setup("s").await;
    let well = site.insist("/step", &step("s", "a", "true")).await;
    assert_eq!((well.status, well.json()), (200, json!({"exited": true})));
    let failed = site.insist("/step", &step("s", "b", "exit 3")).await;
    let told = json!({"exited": true, "exit_code": 3, "error": "exit status 3"});
    assert_eq!((failed.status, failed.json()), (200, told));
    site.destroy("s").await;
}

#[tokio::test]
async fn case_22_outputs_are_returned_and_exports_reach_later_steps_whatever_restarts() {
    let site = Site::new(1, 2);
    let runner = site.serve().await;
    site.setup("s").await;
    let script = "A='one two'; B=2; echo C=3 >> $DRONE_OUTPUT; echo TOKEN=hush >> \
                  $HARNESS_OUTPUT_SECRET_FILE; echo E=exported >> $DRONE_ENV; echo WHO=you >> \
                  $DRONE_ENV";
    let mut first = step("s", "first", script);
    first["start_step_request"]["output_vars"] = json!(["A", "B"]);
    let told = site.insist("/step", &first).await;
    let outputs = json!({"A": "one two", "B": "2", "C": "3"});
    assert_eq!(told.json()["outputs"], outputs, "{told:?}");
    assert_eq!(told.json()["envs"], json!({"E": "exported", "WHO": "you"}));
    let secret = json!({"key": "TOKEN", "value": "hush", "type": "SECRET"});
    let typed = told.json()["outputV2"].clone();
    assert!(
        typed.as_array().is_some_and(|all| all.contains(&secret)),
        "{typed}"
    );

    // Stopped in good order, and killed: P4, P5.
    assert!(runner.stop().await.success());
    let runner = site.serve().await;
    assert_eq!(site.insist("/step", &first).await, told);
    runner.signal(Signal::SIGKILL);
    runner.kill().await;
    let _runner = site.serve().await;
    assert_eq!(site.insist("/step", &first).await, told);

    let mut later = step("s", "later", "echo $E $WHO $OWN");
    later["start_step_request"]["environment"] = json!({"E": "mine", "OWN": "own"});
    let ended = site.insist("/step", &later).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(
        site.log("s", "later"),
        "exported you own\n",
        "they override"
    );
    site.destroy("s").await;
    // Also what was answered before is answered after the end.
    assert_eq!(site.insist("/step", &first).await, told, "P5");
    for file in ["first.returned", "first.log"] {
        let path = site.path().join("state/logs/s").join(file);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(path).expect("it is there").permissions(),
        );
        assert_eq!(mode & 0o077, 0, "P11: {file}");
    }

    site.setup("t").await;
    site.insist("/step", &step("t", "look", "echo [$E]")).await;
    assert_eq!(
        site.log("t", "look"),
        "[]\n",
        "another stage has none of it"
    );
    site.destroy("t").await;
}

#[tokio::test]
async fn p10_a_step_that_fails_keeps_its_code_with_outputs_asked_for() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    site.setup("s").await;
    for (n, (script, code)) in [("A=1; exit 4", 4), ("set -e; false; A=1", 1)]
        .into_iter()
        .enumerate()
    {
        let mut request = step("s", &format!("s{n}"), script);
        request["start_step_request"]["outputs"] =
            json!([{"key": "OUT", "value": "A", "type": "STRING"}]);
        let told = site.insist("/step", &request).await.json();
        assert_eq!(told["exit_code"], code, "{script}: {told}");
        assert!(told["outputs"]["OUT"].is_string(), "{script}: {told}");
    }
    let mut none = step("s", "none", "");
    none["start_step_request"]["run"] = json!({});
    none["start_step_request"]["output_vars"] = json!(["A"]);
    let told = site.insist("/step", &none).await.json();
    let error = "output variable should not be set for unset entrypoint or command";
    assert_eq!(
        (&told["exit_code"], &told["error"]),
        (&json!(255), &json!(error))
    );
    site.destroy("s").await;
}

#[tokio::test]
async fn case_23_a_step_that_is_sent_twice_runs_once_and_case_24_is_waited_for() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    site.setup("s").await;
    let request = step(
        "s",
        "once",
        "echo ran; while [ ! -e go ]; do sleep 0.05; done; exit 6",
    );
    let free = async {
        wait_for("the step's start", async || {
            (site.log("s", "once") == "ran\n").then_some(())
        })
        .await;
        let touched = site.insist("/step", &step("s", "go", "touch go")).await;
        assert_eq!(touched.json(), json!({"exited": true}));
    };
    let ask = || site.insist("/step", &request);
    let (one, other, ()) = tokio::join!(ask(), ask(), free);
    let code = |told: Value| told["exit_code"].clone();
    assert_eq!((code(one.json()), code(other.json())), (json!(6), json!(6)));
    assert_eq!(site.log("s", "once"), "ran\n");
    let another = step("s", "once", "true");
    let conflict = site.insist("/step", &another).await;
    assert_eq!(conflict.status, 400, "P5: {conflict:?}");
    site.destroy("s").await;
}

#[tokio::test]
async fn case_24_a_step_that_its_machine_does_not_take_for_30_s_fails_in_the_incumbents_words() {
    let site = Site::new(0, 1);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let _runner = site.ready(command.env("VMPOOL_LOG", "debug")).await;
    site.setup("s").await;
    let tell_agents = |signal| {
        let agents = site.processes().into_iter().map(|(pid, _)| pid);
        for pid in agents.filter(|pid| *pid != site.holder()) {
            // What has ended meanwhile need not be told.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    };
    tell_agents(Signal::SIGSTOP);
    wait_for("a connection that does not answer", async || {
        let said = site.said();
        said.contains("lost the connection to an agent")
            .then_some(())
    })
    .await;
    let request = step("s", "a", "exit 5");
    let told = site.post("/step", &request).await.expect("an answer");
    assert_eq!(told.status, 500, "{told:?}");
    let why = told.json()["error_msg"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        why.starts_with("failed to call LE.RetryStartStep: ")
            && why.contains("step a is not begun"),
        "{why}"
    );
    // Who asks on gets its result, once the machine is there again.
    tell_agents(Signal::SIGCONT);
    let ended = site.insist("/step", &request).await;
    assert_eq!(ended.json()["exit_code"], 5, "P9: {ended:?}");
    site.destroy("s").await;
}
