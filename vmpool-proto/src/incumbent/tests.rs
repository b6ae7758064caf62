//! The rules of the incumbent's JSON.

use super::*;

fn step(body: &str) -> Result<StartStepRequest, DecodeError> {
    decode(body.as_bytes())
}

#[test]
fn names_are_read_in_any_case_and_those_of_variables_keep_theirs() {
    let read =
        step(r#"{"ID":"a","Environment":{"Path":"1","PATH":"2"},"Run":{"ENTRYPOINT":["sh"]}}"#)
            .expect("a step");
    assert_eq!(read.id, "a");
    assert_eq!(read.run.entrypoint, ["sh"]);
    let variables = read.environment();
    assert_eq!(variables["Path"], "1");
    assert_eq!(variables["PATH"], "2");
}

#[test]
fn null_is_nothing_everywhere() {
    let read = step(
        r#"{"id":null,"detach":null,"timeout":null,"run":null,"secrets":[null,"x"],
            "environment":{"A":null},"files":[null],"process_config":null}"#,
    )
    .expect("a step");
    let expected = StartStepRequest {
        secrets: vec![String::new(), "x".into()],
        environment: Some([("A".to_owned(), String::new())].into()),
        files: vec![File::default()],
        ..StartStepRequest::default()
    };
    assert!(read == expected, "{read:?}");
    assert!(step("null").expect("nothing") == StartStepRequest::default());
}

#[test]
fn what_is_unknown_and_what_follows_is_passed_over() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let body = format!(r#"{{"id":"a","unknown":{deep},"other":{{}}}} trailing"#);
    assert_eq!(step(&body).expect("a step").id, "a");
}

#[test]
fn p13_a_body_that_is_none_is_refused_in_the_incumbents_words() {
    assert_eq!(step("").unwrap_err().to_string(), "EOF");
    assert_eq!(step(" \n").unwrap_err().to_string(), "EOF");
    assert_eq!(step("{").unwrap_err().to_string(), "unexpected EOF");
    assert_eq!(step(r#"{"id":"#).unwrap_err().to_string(), "unexpected EOF");
    let number = step(r#"{"id":"a","kind":5}"#).unwrap_err().to_string();
    assert!(number.starts_with("json: kind: invalid type"), "{number}");
    let nested = step(r#"{"run":{"commands":[1]}}"#).unwrap_err().to_string();
    assert!(nested.starts_with("json: run.commands[0]: "), "{nested}");
}

#[test]
fn p13_what_is_nested_too_deep_is_refused() {
    let deep = format!(r#"{{"run":{{"binary":{}"#, "[".repeat(1_000_000));
    assert!(matches!(step(&deep), Err(DecodeError::Invalid(_))));
}

#[test]
fn p11_no_error_and_no_debug_form_shows_a_value() {
    let error = step(r#"{"secrets":"s3cr\"et"}"#).unwrap_err().to_string();
    assert!(!error.contains("s3cr"), "{error}");
    let read = step(r#"{"id":"a","secrets":["s3cret"],"environment":{"TOKEN":"t0ken"}}"#);
    let shown = format!("{:?}", read.expect("a step"));
    assert_eq!(
        shown,
        "StartStepRequest { id: _, environment: _, secrets: _ }"
    );
}

#[test]
fn answers_are_indented_escaped_and_leave_out_what_is_nothing() {
    assert_eq!(encode(&PollStepAnswer::default()), b"{}\n");
    let mut answer = PollStepAnswer {
        exited: true,
        exit_code: 3,
        error: "<a> & \u{2028}b\n".into(),
        ..PollStepAnswer::default()
    };
    answer.output_v2 = vec![Output {
        key: "K".into(),
        value: "\"v\"".into(),
        kind: "STRING".into(),
    }];
    let expected = r#"{
  "exited": true,
  "exit_code": 3,
  "error": "\u003ca\u003e \u0026 \u2028b\n",
  "outputV2": [
    {
      "key": "K",
      "value": "\"v\"",
      "type": "STRING"
    }
  ]
}
"#;
    assert_eq!(String::from_utf8(encode(&answer)).expect("text"), expected);
}

#[test]
fn an_exit_code_of_windows_keeps_its_bits() {
    let read = |code: &str| {
        let body = format!(r#"{{"exited":true,"exit_code":{code}}}"#);
        decode::<PollStepAnswer>(body.as_bytes()).map(|answer| answer.exit_code)
    };
    for (written, code) in [
        ("3221225477", -1_073_741_819),
        ("4294967295", -1),
        ("-1", -1),
        ("255", 255),
        ("null", 0),
    ] {
        assert_eq!(read(written).expect(written), code);
    }
    assert!(read("4294967296").is_err());
}

#[test]
fn a_request_reads_as_it_was_written() {
    let request = StartStepRequest {
        id: "a".into(),
        environment: Some(std::collections::BTreeMap::new()),
        timeout: 5,
        mount_docker_socket: Some(false),
        ..StartStepRequest::default()
    };
    let written = serde_json::to_string(&request).expect("JSON");
    assert_eq!(
        written,
        r#"{"id":"a","environment":{},"timeout":5,"mount_docker_socket":false}"#
    );
    assert!(decode::<StartStepRequest>(written.as_bytes()).expect("read") == request);
}
