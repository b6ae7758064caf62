//! Machines whose agent is `lite-engine server --env-file`: the incumbent's
//! protocol on the machines' side too, over its own scheme of certificates.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Site, lite_engine, step, wait_for};

/// A site whose one pool has such machines.
fn site(warm: u32) -> Site {
    let site = Site::new(0, 3);
    let root = site.path().join("machines");
    site.pool_file(&format!(
        "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: {warm}\n  limit: 3\n  \
         spec:\n    root: {}\n    agent: [{}, server, --state, agent]\n",
        root.display(),
        lite_engine().display(),
    ));
    site
}

#[tokio::test]
async fn a_build_runs_on_agents_that_speak_the_incumbents_protocol() {
    let site = site(0);
    let runner = site.serve().await;
    let setup = json!({"id": "s", "pool_id": "linux", "setup_request": {
        "envs": {"WHO": "me", "NOTHING": ""},
        "files": [{"path": "made", "mode": 384, "data": "by setup"}]}});
    let answered = site.insist("/setup", &setup).await;
    let machine = answered.machine();
    assert!(machine.starts_with("local-"), "{machine}");
    assert_eq!(site.insist("/setup", &setup).await.machine(), machine, "P9");
    assert!(
        site.said().contains("P12"),
        "what is not kept is said: {}",
        site.said()
    );

    let script = "echo hello $WHO \"[${NOTHING-unset}]\"; cat made; pwd; exit 3";
    let request = step("s", "hi", script);
    let expected = json!({"exited": true, "exit_code": 3, "error": "exit status 3"});
    for _ in 0..2 {
        assert_eq!(site.insist("/step", &request).await.json(), expected);
    }
    let workspace = site
        .path()
        .join(format!("machines/{machine}/state/workspace"));
    let log = format!("hello me []\nby setup{}\n", workspace.display());
    assert_eq!(site.log("s", "hi"), log);

    let ends = [
        (
            "kill -9 $$",
            json!({"exited": true, "exit_code": -1, "error": "exit status -1: killed by signal 0"}),
        ),
        ("printf tail", json!({"exited": true})),
    ];
    for (n, (script, expected)) in ends.into_iter().enumerate() {
        let ended = site
            .insist("/step", &step("s", &format!("end-{n}"), script))
            .await;
        assert_eq!(ended.json(), expected, "{script}");
    }
    assert_eq!(site.log("s", "end-1"), "tail");

    let mut late = step("s", "late", "sleep 1000");
    late["start_step_request"]["timeout"] = json!(1);
    let ended = site.insist("/step", &late).await.json();
    assert_eq!(ended["error"], "the step was over its time");

    site.destroy("s").await;
    site.destroy("s").await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_a_runner_killed_in_the_middle_of_a_step_gets_its_result_and_whole_log() {
    let site = site(1);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let script = "echo run >> runs; for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done; exit 5";
    let request = step("s", "slow", script);
    let (asked, ()) = tokio::join!(site.post("/step", &request), async {
        wait_for("the second line", async || {
            site.log("s", "slow").contains("line 2").then_some(())
        })
        .await;
        runner.kill().await;
    });
    assert!(asked.is_none(), "{asked:?}");

    let next = site.serve().await;
    assert_eq!(site.setup("s").await, machine);
    let ended = site.insist("/step", &request).await;
    assert_eq!(ended.json()["exit_code"], 5);
    let log = [1, 2, 3, 4, 5, 6].map(|n| format!("line {n}\n")).concat();
    assert_eq!(site.log("s", "slow"), log);
    let runs = site.insist("/step", &step("s", "runs", "cat runs")).await;
    assert_eq!(runs.json(), json!({"exited": true}));
    assert_eq!(site.log("s", "runs"), "run\n", "it ran once");
    site.destroy("s").await;
    assert!(next.stop().await.success());
}

#[tokio::test]
async fn p4_an_agent_killed_in_the_middle_of_a_step_goes_on_where_it_is_ours() {
    let site = site(1);
    let runner = site.serve().await;
    site.setup("s").await;
    let script = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done; exit 5";
    let request = step("s", "slow", script);
    let (ended, ()) = tokio::join!(site.insist("/step", &request), async {
        wait_for("the second line", async || {
            site.log("s", "slow").contains("line 2").then_some(())
        })
        .await;
        let agents = site.processes();
        let (agent, _) = agents
            .iter()
            .find(|(_, line)| line.contains("--env-file"))
            .expect("the agent");
        kill(Pid::from_raw(*agent), Signal::SIGKILL).expect("killed");
    });
    assert_eq!(ended.json()["exit_code"], 5);
    let log = [1, 2, 3, 4, 5, 6].map(|n| format!("line {n}\n")).concat();
    assert_eq!(site.log("s", "slow"), log);
    site.destroy("s").await;
    assert!(runner.stop().await.success());
}
