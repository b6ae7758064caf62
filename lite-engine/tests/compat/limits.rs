//! What a step may take of the machine, as far as this protocol has a word for it.

use serde_json::json;

use crate::support::{Agent, step_with};

const GREEDY: &str = "python3 -c 'bytearray(256 << 20)'";

#[tokio::test]
async fn c57_a_step_on_the_machine_that_is_over_its_memory_is_told_as_one_in_a_container() {
    let agent = Agent::start();
    let fields = json!({"mem_limit": 64 << 20, "memswap_limit": 64 << 20});
    let answer = agent.caller().run(&step_with("a", GREEDY, fields)).await;
    let expected = json!({
        "exited": true, "exit_code": 137, "error": "oom killed", "oom_killed": true,
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_step_within_its_memory_or_without_a_limit_is_not_touched() {
    let agent = Agent::start();
    let caller = agent.caller();
    for (id, limit) in [("roomy", 1_i64 << 30), ("none", 0), ("nonsense", -1)] {
        let step = step_with(id, GREEDY, json!({"mem_limit": limit}));
        assert_eq!(caller.run(&step).await, json!({"exited": true}), "{id}");
        assert_eq!(caller.output(id).await, "", "{id}");
    }
}
