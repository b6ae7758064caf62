//! The end of a stage.

use serde_json::json;

use crate::support::{Agent, content, lives, setup0, step, step_with};

#[tokio::test]
async fn c60_p10_a_destroyed_stage_leaves_no_process() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let (one, two) = (agent.path("one"), agent.path("two"));
    let script = |file: &std::path::Path| {
        format!(
            "trap '' TERM; setsid sleep 300 & echo $! > {}; wait; sleep 300",
            file.display()
        )
    };
    caller.done("/start_step", &step("a", &script(&one))).await;
    let detached = json!({"detach": true});
    caller
        .done("/start_step", &step_with("b", &script(&two), detached))
        .await;
    let (one, two) = (content(&one).await, content(&two).await);
    let polling = caller.clone();
    let mut poll = tokio::task::JoinSet::new();
    poll.spawn(async move { polling.done("/poll_step", &json!({"id": "a"})).await });
    caller.done("/destroy", &json!({})).await;
    assert!(!lives(&one) && !lives(&two));
    let answer = poll.join_next().await.expect("asked").expect("answered");
    assert_eq!(
        (&answer["exited"], &answer["exit_code"]),
        (&json!(true), &json!(255))
    );
}

#[tokio::test]
async fn c61_a_stage_may_be_destroyed_again_or_before_its_setup() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/destroy", &json!({})).await;
    caller.done("/setup", &setup0()).await;
    for _ in 0..3 {
        caller
            .done(
                "/destroy",
                &json!({"stage_runtime_id": "x", "log_key": "y"}),
            )
            .await;
    }
}

#[tokio::test]
async fn c62_a_suspension_removes_containers_of_which_there_are_none() {
    let agent = Agent::start();
    let caller = agent.caller();
    let answer = caller
        .post("/suspend", &json!({"labels": {"a": "b"}, "log_key": ""}))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "{}\n")
    );
}

#[tokio::test]
async fn c60_how_the_machine_fared_is_told() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let answer = caller.done("/destroy", &json!({})).await;
    let stats = &answer["os_stats"];
    assert!(
        stats["total_mem_mb"].as_u64().expect("a figure") > 0,
        "{answer}"
    );
    assert!(
        stats["cpu_cores"].as_u64().expect("a figure") > 0,
        "{answer}"
    );
    for (graph, metric) in [("mem_graph", "mem_mb"), ("cpu_graph", "cpu_milli")] {
        let graph = &stats[graph];
        assert_eq!(
            (&graph["xmetric"], &graph["ymetric"]),
            (&json!("seconds"), &json!(metric))
        );
        let points = graph["points"].as_array().expect("points");
        assert!((1..=10).contains(&points.len()), "{answer}");
        assert!(
            points
                .iter()
                .all(|point| point["x"].is_number() && point["y"].is_number())
        );
    }
    for figure in [
        "avg_mem_usage_pct",
        "max_mem_usage_pct",
        "avg_cpu_usage_pct",
        "max_cpu_usage_pct",
    ] {
        assert!(stats[figure].is_number(), "{answer}");
    }
}
