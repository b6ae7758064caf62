//! Logs as lines: in files, and at the log service.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Agent, Caller, Service, eventually, setup0, step_with};

/// A step whose log goes to the key `k/log`.
fn logged(id: &str, script: &str, fields: Value) -> Value {
    let mut step = step_with(id, script, fields);
    step["log_drone"] = json!(false);
    step["log_key"] = json!("k/log");
    step
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The texts of all lines in a file of lines, once it ends so.
async fn texts(file: &Path, end: &str) -> Vec<String> {
    let read = || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]).to_owned();
        let lines = json_lines(&whole).into_iter();
        lines
            .map(|line| line["out"].as_str().expect("a text").to_owned())
            .collect::<Vec<_>>()
    };
    eventually(end, || read().last().is_some_and(|last| last.contains(end))).await;
    read()
}

#[tokio::test]
async fn c38_c39_without_a_service_lines_go_to_a_file_also_the_last_one() {
    let agent = Agent::start();
    let run = json!({"entrypoint": ["sh", "-c"], "commands": ["echo one\nprintf tail", "arg"]});
    let step = logged("a", "", json!({"run": run}));
    agent.caller().run(&step).await;
    let file = agent.shared().join("k/log");
    let texts = texts(&file, "tail").await;
    let colour = "\u{1b}[33;1m";
    let expected = [
        format!("{colour}Executing the following command(s):\n"),
        format!("{colour}echo one\n"),
        format!("{colour}printf tail\n"),
        format!("{colour}arg\n"),
        "one\n".to_owned(),
        "tail".to_owned(),
    ];
    let shown: Vec<&str> = texts
        .iter()
        .map(|text| text.trim_end_matches('\n'))
        .collect();
    let wanted: Vec<&str> = expected
        .iter()
        .map(|text| text.trim_end_matches('\n'))
        .collect();
    assert_eq!(shown, wanted);
    let lines = json_lines(&std::fs::read_to_string(&file).expect("there"));
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(line["pos"], n);
        assert!(line["time"].is_u64() || line["time"].is_i64(), "{line}");
    }
}

#[tokio::test]
async fn c38_w21_a_key_that_leads_out_is_no_file() {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut step = logged("a", "echo x", json!({}));
    step["log_key"] = json!("../../escaped");
    let answer = caller.run(&step).await;
    assert_eq!(answer["exited"], true);
    caller.done("/destroy", &json!({})).await;
    assert!(!agent.path("escaped").exists());
}

#[tokio::test]
async fn c42_long_lines_are_cut() {
    let agent = Agent::start();
    let script = "head -c 81920 /dev/zero | tr '\\0' x; echo; echo after";
    agent.caller().run(&logged("a", script, json!({}))).await;
    let texts = texts(&agent.shared().join("k/log"), "after").await;
    let long = &texts[texts.len() - 2];
    assert!(long.starts_with(&"x".repeat(71_680)), "{}", long.len());
    assert_eq!(&long[71_680..], "... (log line truncated)\n");
}

#[tokio::test]
async fn c55_a_table_of_test_results_ends_the_log() {
    let agent = Agent::start();
    let caller = agent.caller();
    let workdir = agent.path("ws");
    std::fs::create_dir_all(workdir.join("r")).expect("made");
    let report = r#"<testsuite name="suite"><testcase classname="c" name="well" time="1"/>
        <testcase classname="c" name="bad"><failure message="s3cr3t broke"/></testcase></testsuite>"#;
    std::fs::write(workdir.join("r/a.xml"), report).expect("written");
    let mut fields = json!({
        "working_dir": workdir, "secrets": ["s3cr3t"],
        "test_report": {"kind": "Junit", "junit": {"paths": ["r/*.xml"]}},
        "environment": {"HARNESS_CI_TEST_SUMMARY_OUTPUT_FF": "true"},
    });
    // Streamed, so that all of it can be read at once.
    let answer = caller
        .run(&step_with("a", "echo tested; exit 1", fields.clone()))
        .await;
    assert_eq!(answer["exit_code"], 1);
    assert_eq!(answer["outputs"]["total_tests"], "2");
    assert_eq!(answer["outputs"]["failed_tests"], "1");
    let output = caller.output("a").await;
    assert!(
        output.starts_with("tested\n") && output.contains("suite"),
        "{output}"
    );
    assert!(
        output.contains("bad") && !output.contains("s3cr3t"),
        "{output}"
    );
    let total = i64::try_from(output.len()).expect("a length");
    let question = json!({"id": "a", "offset": total - 3});
    let rest = caller.post("/stream_output", &question).await.text();
    assert_eq!(rest, output[output.len() - 3..]);
    // Where there are no reports the result is as it would be.
    fields["test_report"]["junit"]["paths"] = json!(["none/*.xml"]);
    fields["environment"] = json!({});
    let answer = caller.run_next(&step_with("b", "true", fields)).await;
    assert_eq!(answer, json!({"exited": true}));
}

async fn log_service() -> Service {
    Service::start(|base, question| match question.line.as_str() {
        line if line.starts_with("POST /blob/link/upload") => {
            (200, json!({"link": format!("{base}/linked")}).to_string())
        }
        _ => (200, String::new()),
    })
    .await
}

/// Sets up with the log service and runs this step to its end and the stage's.
async fn run_logged(caller: &Caller, service: &Service, config: Value, step: &Value) {
    let mut setup = setup0();
    setup["log_config"] = json!({"url": service.url, "token": "the-token", "account_id": "acc"});
    let Value::Object(config) = config else {
        panic!("an object")
    };
    setup["log_config"]
        .as_object_mut()
        .expect("an object")
        .extend(config);
    caller.done("/setup", &setup).await;
    caller.run_next(step).await;
    // It waits for the log.
    caller.done("/destroy", &json!({})).await;
}

#[tokio::test]
async fn c67_the_log_goes_live_and_then_as_a_whole_to_the_service() {
    let agent = Agent::start();
    let service = log_service().await;
    let step = logged("a", "echo one; echo two", json!({}));
    run_logged(&agent.caller(), &service, json!({}), &step).await;
    let lines = service.lines();
    let query = "accountID=acc&key=k%2Flog";
    assert!(lines[0].starts_with("POST /stream?"), "{lines:?}");
    assert!(
        lines[0].contains(query) || lines[0].contains("key=k/log"),
        "{lines:?}"
    );
    assert!(
        lines.last().expect("lines").starts_with("DELETE /stream?"),
        "{lines:?}"
    );
    let live: Vec<Value> = service
        .bodies("PUT /stream?")
        .iter()
        .flat_map(|body| serde_json::from_str::<Vec<Value>>(body).expect("a list"))
        .collect();
    assert_eq!(live.len(), 4, "{live:?}");
    assert_eq!(live[3]["out"], "two\n");
    assert_eq!(live[3]["pos"], 3);
    assert!(
        live[3]["args"].is_null() && live[3]["level"].is_string(),
        "{}",
        live[3]
    );
    let blob = service.bodies("PUT /linked").concat();
    assert_eq!(json_lines(&blob).len(), 4);
    for question in service.questions() {
        // W43: the signed link is another's.
        let wanted = !question.line.starts_with("PUT /linked");
        let token = question.headers.get("x-harness-token");
        assert_eq!(
            token.is_some_and(|token| token == "the-token"),
            wanted,
            "{}",
            question.line
        );
    }
}

#[tokio::test]
async fn c67_the_whole_log_goes_through_the_service_where_that_is_wanted() {
    let agent = Agent::start();
    let service = log_service().await;
    let step = logged("a", "echo one", json!({}));
    run_logged(
        &agent.caller(),
        &service,
        json!({"indirect_upload": true}),
        &step,
    )
    .await;
    assert_eq!(json_lines(&service.bodies("POST /blob?").concat()).len(), 3);
    assert!(service.bodies("POST /blob/link").is_empty());
}

#[tokio::test]
async fn c68_a_stream_that_another_opens_is_closed_with_a_snapshot() {
    let agent = Agent::start();
    let service = log_service().await;
    let fields = json!({"log_config": {"skip_opening_stream": true}});
    run_logged(
        &agent.caller(),
        &service,
        json!({}),
        &logged("a", "echo one", fields),
    )
    .await;
    let lines = service.lines();
    assert!(
        lines.iter().all(|line| !line.starts_with("POST")),
        "{lines:?}"
    );
    let last = lines.last().expect("lines");
    assert!(
        last.starts_with("DELETE /stream?") && last.contains("snapshot=true"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn c69_a_stream_that_another_closes_has_all_lines_and_no_end() {
    let agent = Agent::start();
    let service = log_service().await;
    let fields = json!({"log_config": {"skip_closing_stream": true}});
    run_logged(
        &agent.caller(),
        &service,
        json!({}),
        &logged("a", "printf tail", fields),
    )
    .await;
    let lines = service.lines();
    let kinds = ["POST /blob", "PUT /linked", "DELETE"];
    assert!(
        !lines
            .iter()
            .any(|line| kinds.iter().any(|kind| line.starts_with(kind))),
        "{lines:?}"
    );
    assert!(service.bodies("PUT /stream?").concat().contains("tail"));
}

#[tokio::test]
async fn c70_the_whole_log_is_the_newest_five_mebibytes_and_the_stream_is_all() {
    let agent = Agent::start();
    let service = log_service().await;
    let script = "i=0; while [ $i -lt 6144 ]; do printf '%01000d\\n' $i; i=$((i+1)); done";
    run_logged(
        &agent.caller(),
        &service,
        json!({}),
        &logged("a", script, json!({})),
    )
    .await;
    let live: usize = service
        .bodies("PUT /stream?")
        .iter()
        .map(|body| {
            serde_json::from_str::<Vec<Value>>(body)
                .expect("a list")
                .len()
        })
        .sum();
    assert_eq!(live, 6146);
    let blob = service.bodies("PUT /linked").concat();
    assert!(
        blob.len() <= 5 * 1024 * 1024 && blob.len() > 4 * 1024 * 1024,
        "{}",
        blob.len()
    );
    let last = json_lines(&blob).pop().expect("lines");
    assert!(last["out"].as_str().expect("a text").ends_with("6143\n"));
}

#[tokio::test]
async fn w14_w15_a_service_that_fails_at_first_gets_everything_and_delays_no_result() {
    let agent = Agent::start();
    let caller = agent.caller();
    let failures = std::sync::atomic::AtomicUsize::new(4);
    let service = Service::start(move |base, question| {
        use std::sync::atomic::Ordering::SeqCst;
        let left = failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        match question.line.as_str() {
            _ if left.is_ok() => (503, String::new()),
            line if line.starts_with("POST /blob/link/upload") => {
                (200, json!({"link": format!("{base}/linked")}).to_string())
            }
            _ => (200, String::new()),
        }
    })
    .await;
    run_logged(
        &caller,
        &service,
        json!({}),
        &logged("a", "echo one", json!({})),
    )
    .await;
    let blob = service.bodies("PUT /linked").pop().expect("a blob");
    assert_eq!(json_lines(&blob).len(), 3, "{:?}", service.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_killed_agents_log_is_brought_by_the_next() {
    let mut agent = Agent::start();
    let service = log_service().await;
    let mut setup = setup0();
    setup["log_config"] = json!({"url": service.url, "token": "t", "account_id": "acc"});
    agent.caller().done("/setup", &setup).await;
    let gate = agent.path("gate");
    let script = format!(
        "echo early; until [ -e {} ]; do sleep 0.01; done; echo late",
        gate.display()
    );
    agent
        .caller()
        .done("/start_step", &logged("a", &script, json!({})))
        .await;
    eventually("the first lines", || {
        service.bodies("PUT /stream?").concat().contains("early")
    })
    .await;
    agent.end(nix::sys::signal::Signal::SIGKILL);
    std::fs::write(gate, "").expect("opened");
    agent.run();
    agent.caller().done("/poll_step", &json!({"id": "a"})).await;
    agent.caller().done("/destroy", &json!({})).await;
    let live = service.bodies("PUT /stream?").concat();
    assert!(live.contains("late"), "{live}");
    let blob = json_lines(&service.bodies("PUT /linked").concat());
    assert_eq!(blob.len(), 4, "{blob:?}");
}

#[tokio::test]
async fn annotations_are_brought_to_their_service_after_a_step_that_went_well() {
    let agent = Agent::start();
    let caller = agent.caller();
    let service = Service::start(|_, _| (200, String::new())).await;
    let fields = json!({
        "annotations_config": {"base_url": service.url, "token": "a-token"},
        "environment": {"HARNESS_ACCOUNT_ID": "acc", "HARNESS_EXECUTION_ID": "exec"},
    });
    let script = "printf '{\"annotations\":[]}' > $HARNESS_ANNOTATIONS_FILE";
    caller.run(&step_with("a", script, fields.clone())).await;
    caller
        .run_next(&step_with("b", &format!("{script}; exit 1"), fields))
        .await;
    caller.done("/destroy", &json!({})).await;
    let questions = service.questions();
    assert_eq!(questions.len(), 1, "{questions:?}");
    let line = "POST /api/pipelines/annotations?accountId=acc&planExecutionId=exec";
    assert_eq!(questions[0].line, line);
    assert_eq!(questions[0].headers["authorization"], "Annotations a-token");
    assert_eq!(questions[0].text(), r#"{"annotations":[]}"#);
}
