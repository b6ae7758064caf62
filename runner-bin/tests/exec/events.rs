//! `--json`: events for programs, one a line.

use serde_json::Value;

use crate::support::Project;

/// The names of the events in their order, and who they are of.
fn told(events: &[Value]) -> Vec<String> {
    let text = |event: &Value, field: &str| {
        event[field]
            .as_str()
            .map(|text| format!(" {text}"))
            .unwrap_or_default()
    };
    events
        .iter()
        .map(|event| {
            let name = event["event"].as_str().expect("every event has a name");
            format!(
                "{name}{}{}{}",
                text(event, "step"),
                text(event, "result"),
                text(event, "text")
            )
        })
        .collect()
}

#[test]
fn every_line_is_an_event_and_the_last_is_the_summary() {
    let project = Project::with_steps(
        "- name: greet\n  commands: [echo Hello]\n\
         - name: fail\n  commands: ['exit 7']\n\
         - name: after\n  commands: [echo after]\n",
    );
    let ran = project.exec(&["--json"]).ended_with(1);
    assert_eq!(ran.err, "");
    let events = ran.events();
    let names = told(&events);
    let without_warming: Vec<_> = names
        .iter()
        .filter(|name| *name != "warming" && !name.starts_with("log clone"))
        .collect();
    assert_eq!(
        without_warming,
        [
            "started",
            "acquired",
            "step_started clone",
            "step_ended clone success",
            "step_started greet",
            "log greet + echo Hello",
            "log greet Hello",
            "step_ended greet success",
            "step_started fail",
            "log fail + exit 7",
            "step_ended fail failure",
            "step_ended after skipped",
            "pipeline_ended failure",
            "summary failure",
        ]
    );
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0]["ms"].as_u64() <= pair[1]["ms"].as_u64())
    );

    let started = &events[0];
    assert_eq!(started["file"], ".vmpool.yml");
    assert_eq!(started["jobs"], 1);
    assert_eq!(started["pipelines"][0]["name"], "test");
    assert_eq!(
        started["pipelines"][0]["steps"],
        serde_json::json!(["clone", "greet", "fail", "after"])
    );

    let summary = events.last().expect("a last line");
    assert_eq!(summary["exit_code"], 1);
    assert!(summary["elapsed_ms"].as_f64() > Some(0.0));
    assert!(summary["warmed_ms"].as_f64() > Some(0.0));
    let pipeline = &summary["pipelines"][0];
    assert_eq!(pipeline["reason"], "step fail failed: exit code 7");
    assert!(pipeline["machine"]["acquired_ms"].as_f64() > Some(0.0));
    assert!(pipeline["machine"]["warm"].is_boolean());
    let steps = pipeline["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[2]["exit_code"], 7);
    assert!(steps[2]["run_ms"].as_f64() > Some(0.0));
    assert_eq!(steps[3]["reason"], "fail failed");
}

#[test]
fn text_and_end_of_all_log_events_are_the_log_byte_for_byte() {
    let project = Project::with_steps(
        "- name: print\n  commands:\n  - printf 'one\\r\\n50%%\\r100%%\\r\\n\\n\\303\\244\\377|no end'\n",
    );
    let events = project.exec(&["--json"]).ended_with(0).events();
    let log: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "log" && event["step"] == "print")
        .skip(1)
        .map(|event| {
            let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            (field("text"), field("end"), field("hex"))
        })
        .collect();
    let line = |text: &str, end: &str, hex: &str| (text.into(), end.into(), hex.into());
    assert_eq!(
        log,
        [
            line("one", "\r\n", ""),
            line("50%", "\r", ""),
            line("100%", "\r\n", ""),
            line("", "\n", ""),
            line("ä\u{fffd}|no end", "", "c3a4ff7c6e6f20656e64"),
        ]
    );
}

#[test]
fn warnings_are_events_too() {
    let project = Project::with_steps(
        "- name: a\n  environment: {T: {from_secret: nope}}\n  commands: ['echo \"<$T>\"']\n",
    );
    let ran = project.exec(&["--json"]).ended_with(0);
    assert_eq!(ran.err, "");
    let events = ran.events();
    assert_eq!(events[0]["event"], "warning");
    let message = events[0]["message"].as_str().expect("a message");
    assert!(
        message.starts_with("the secret nope has no value"),
        "{message}"
    );
    assert!(told(&events).contains(&"log a <>".to_owned()));
}
