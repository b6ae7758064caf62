//! What a step returns.

use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Agent, setup0, step_with};

/// A step whose output nobody streams, with further fields.
fn returning(id: &str, script: &str, fields: Value) -> Value {
    let mut step = step_with(id, script, fields);
    step["log_drone"] = json!(false);
    step
}

async fn run(script: &str, fields: Value) -> Value {
    Agent::start()
        .caller()
        .run(&returning("a", script, fields))
        .await
}

fn string(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "type": "STRING"})
}

#[tokio::test]
async fn c43_variables_by_their_names() {
    let answer = run("export A=1", json!({"output_vars": ["A"]})).await;
    assert_eq!(answer["outputs"], json!({"A": "1"}));
    assert_eq!(answer["outputV2"], json!([string("A", "1")]));
    assert_eq!(answer["exited"], true);
    assert!(answer.get("exit_code").is_none());
}

#[tokio::test]
async fn c44_variables_under_other_names_and_as_secrets() {
    let outputs = json!([
        {"key": "OUT", "value": "A", "type": "SECRET"}, {"key": "B", "value": "B", "type": "STRING"},
    ]);
    let agent = Agent::start();
    let caller = agent.caller();
    let answer = caller
        .run(&returning(
            "a",
            "A=s3cr3t-1; B=2",
            json!({"outputs": outputs}),
        ))
        .await;
    let secret = json!({"key": "OUT", "value": "s3cr3t-1", "type": "SECRET"});
    assert_eq!(answer["outputV2"], json!([secret, string("B", "2")]));
    // W39: it is one for later steps too.
    caller
        .run_next(&step_with("b", "echo s3cr3t-1", json!({})))
        .await;
    let output = caller.output("b").await;
    assert!(!output.contains("s3cr3t"), "{output}");
}

#[tokio::test]
async fn c45_what_the_step_writes_itself() {
    let answer = run(
        "echo X=5 >> $DRONE_OUTPUT; echo Y=6 >> $HARNESS_OUTPUT_FILE",
        json!({}),
    )
    .await;
    assert_eq!(answer["outputs"], json!({"X": "5", "Y": "6"}));
    assert_eq!(
        answer["outputV2"],
        json!([string("X", "5"), string("Y", "6")])
    );
}

#[tokio::test]
async fn c45_secrets_that_the_step_writes_itself() {
    let script = "echo S=hidden > $HARNESS_OUTPUT_SECRET_FILE";
    let secret = json!([{"key": "S", "value": "hidden", "type": "SECRET"}]);
    assert_eq!(run(script, json!({})).await["outputV2"], secret);
    let answer = run(&format!("{script}; exit 1"), json!({})).await;
    assert!(answer.get("outputV2").is_none(), "{answer}");
}

#[tokio::test]
async fn c45_files_that_the_caller_names() {
    let agent = Agent::start();
    let (file, secrets) = (agent.path("o.env"), agent.path("s.env"));
    let script = format!(
        "test $DRONE_OUTPUT = {0}; echo A=1 > {0}; echo B=2 > {1}",
        file.display(),
        secrets.display()
    );
    let fields = json!({"output_var_file": file, "secret_var_file": secrets});
    let answer = agent.caller().run(&returning("a", &script, fields)).await;
    let secret = json!({"key": "B", "value": "2", "type": "SECRET"});
    assert_eq!(
        answer["outputV2"],
        json!([string("A", "1"), secret]),
        "{answer}"
    );
}

#[tokio::test]
async fn c46_values_in_base64() {
    let answer = run("echo K=__B64__aGkKdGhlcmU= >> $DRONE_OUTPUT", json!({})).await;
    assert_eq!(answer["outputs"], json!({"K": "hi\nthere"}));
}

#[tokio::test]
async fn c47_values_of_several_lines() {
    let fields = json!({
        "output_vars": ["A"], "environment": {"CI_NEW_VERSION_GODOTENV": "true"},
    });
    let answer = run("A='one\n \"two\" $three\n'; export A", fields).await;
    assert_eq!(answer["outputs"], json!({"A": "one\n \"two\" $three\n"}));
}

#[tokio::test]
async fn c48_a_step_that_fails_returns_what_it_has_written() {
    let answer = run("echo X=5 > $DRONE_OUTPUT; exit 2", json!({})).await;
    assert_eq!(
        (&answer["exit_code"], &answer["outputs"]),
        (&json!(2), &json!({"X": "5"}))
    );
}

#[tokio::test]
async fn c49_variables_to_return_hide_no_failure() {
    let answer = run("false", json!({"output_vars": ["A"]})).await;
    assert_eq!(answer["exit_code"], 1);
    // W26: nor does an early end fail a step.
    let answer = run("A=1; exit 0", json!({"output_vars": ["A"]})).await;
    assert!(answer.get("exit_code").is_none(), "{answer}");
    assert_eq!(answer["outputs"], json!({"A": "1"}));
}

#[tokio::test]
async fn c50_variables_of_a_step_without_a_program() {
    let fields = json!({"output_vars": ["A"], "run": {"commands": ["x"]}});
    let answer = run("", fields).await;
    assert_eq!(answer["exit_code"], 255);
    let error = "output variable should not be set for unset entrypoint or command";
    assert_eq!(answer["error"], error);
}

#[tokio::test]
async fn c51_exported_variables_are_told_and_come_to_later_steps() {
    let agent = Agent::start();
    let caller = agent.caller();
    let answer = caller
        .run(&returning("a", "echo Z=1 > $DRONE_ENV", json!({})))
        .await;
    assert_eq!(answer["envs"], json!({"Z": "1"}));
    caller
        .run_next(&step_with("b", "echo Z is $Z", json!({})))
        .await;
    assert_eq!(caller.output("b").await, "Z is 1\n");
}

#[tokio::test]
async fn c52_a_plugins_artifact() {
    let answer = run("printf '{\"a\":1}' > $PLUGIN_ARTIFACT_FILE", json!({})).await;
    assert_eq!(answer["artifact"], STANDARD.encode("{\"a\":1}"));
}

#[tokio::test]
async fn c53_what_the_artifact_client_published() {
    let written =
        r#"{"artifactName":"n","version":"1","registry":"r","fileCount":2,"totalBytes":1536}"#;
    let script = format!("printf '%s' '{written}' > $HARNESS_ARTIFACT_FILE_PATH");
    let environment = json!({"HARNESS_HAR_URL": "https://h/", "HARNESS_ACCOUNT_ID": "acc"});
    let answer = run(&script, json!({"environment": environment})).await;
    assert_eq!(answer["native_artifact_output"], written);
    let expected = json!({
        "ARTIFACT_COUNT": "2", "ARTIFACT_BYTES": "1536", "ARTIFACT_BYTES_HUMAN": "1.5 kB",
        "ARTIFACT_URLS": "https://h/pkg/acc/r/n/1",
    });
    assert_eq!(answer["outputs"], expected);
}

#[tokio::test]
async fn w37_files_that_a_step_puts_links_in_the_place_of_are_not_read() {
    let agent = Agent::start();
    let secret = agent.path("secret");
    std::fs::write(&secret, "KEY=stolen").expect("written");
    let beside = agent.path("beside");
    symlink(agent.folder(), &beside).expect("linked");
    let caller = agent.caller();
    for (id, script) in [
        (
            "a",
            format!("ln -s {} $PLUGIN_ARTIFACT_FILE", secret.display()),
        ),
        ("b", format!("ln -s {} $DRONE_OUTPUT", secret.display())),
        (
            "c",
            format!("ln -s {} $HARNESS_ARTIFACT_FILE_PATH", secret.display()),
        ),
        ("d", "mkfifo $DRONE_OUTPUT".to_owned()),
        ("e", "mkdir $DRONE_ENV".to_owned()),
        (
            "f",
            format!(
                "d=$(dirname $DRONE_OUTPUT); rm -r $d; ln -s {} $d; echo",
                agent.folder().display()
            ),
        ),
    ] {
        let answer = caller
            .run(&returning(id, &script, json!({})))
            .await
            .to_string();
        let stolen = ["stolen", &STANDARD.encode("KEY=stolen")];
        assert!(
            stolen.iter().all(|stolen| !answer.contains(*stolen)),
            "{id}: {answer}"
        );
    }
    let fields = json!({"output_var_file": beside.join("secret")});
    let answer = caller
        .run(&returning("g", "true", fields))
        .await
        .to_string();
    assert!(!answer.contains("stolen"), "{answer}");
    assert!(secret.exists() && beside.exists());
}

#[tokio::test]
async fn a_steps_folder_is_its_own_and_goes_with_it() {
    let agent = Agent::start();
    crate::steps::open_up(&agent);
    let caller = agent.caller();
    let script = "ls -ld $(dirname $DRONE_OUTPUT) | cut -c1-10; echo x > $HARNESS_SCRATCH_DIR/x; \
                  echo A=1 > $DRONE_OUTPUT";
    let fields = json!({"user": "54321", "working_dir": "/"});
    caller.done("/setup", &setup0()).await;
    let answer = caller.run_next(&step_with("a", script, fields)).await;
    assert_eq!(answer["outputs"], json!({"A": "1"}), "{answer}");
    assert_eq!(caller.output("a").await, "drwx------\n");
    let left = std::fs::read_dir(agent.shared()).expect("there").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn plugin_files_come_to_lie_in_the_steps_folder() {
    let agent = Agent::start();
    let script = "test $PLUGIN_METADATA_FILE = $(dirname $DRONE_OUTPUT)/meta.json";
    let fields = json!({"environment": {"PLUGIN_METADATA_FILE": "some/where/meta.json"}});
    let answer = agent.caller().run(&returning("a", script, fields)).await;
    assert!(answer.get("exit_code").is_none(), "{answer}");
}
