//! The incumbent's requests as they are read, and its answers as they are written.

use std::time::Duration;

use http::StatusCode;
use vmpool_core::{StepOutcome, StepStatus, Timestamp};
use vmpool_pipeline::Wanted;

use super::*;

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

fn setup_error(body: &str) -> String {
    let answer = SetupVm::read(body.as_bytes()).unwrap_err();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    text(&answer).to_owned()
}

fn step_error(body: &str) -> String {
    let answer = ExecuteVm::read(body.as_bytes()).unwrap_err();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    text(&answer).to_owned()
}

#[test]
fn a_setup_is_read_and_what_it_does_not_mean_here_is_passed_over() {
    let (request, wanted) = SetupVm::read(
        br#"{"id":"S","pool_id":"linux","fallback_pool_ids":null,"tags":{"freeCI":"true"},
            "context":{"account_id":"acme"},"resource_class":"large","nested_virtualization":true,
            "vm_image_config":{"image_name":"not this one"},
            "timeout":120000,"correlation_id":"c","no_such_field":[1],
            "setup_request":{"envs":{"A":"1"},"network":{"id":"n"},"secrets":["s3cret",""],
              "files":[{"path":"/tmp/f","mode":511,"data":"text","is_dir":false}],
              "vm_image_config":{"image_name":"ami-1"},"timeout":3600,"volumes":null}} trailing"#,
    )
    .unwrap();
    assert_eq!(
        (request.pool.as_str(), request.stage.as_str()),
        ("linux", "S")
    );
    assert_eq!(request.lasts, Some(Duration::from_secs(3600)));
    assert_eq!(request.wait, None);
    assert_eq!(request.setup.env["A"], "1");
    assert_eq!(request.setup.secrets.len(), 1);
    assert_eq!(request.setup.files[0].mode, 0o777);
    let said = Wanted {
        pool: "linux".into(),
        account: "acme".into(),
        free: false,
        resource_class: "large".into(),
        nested_virtualization: true,
        image: "ami-1".into(),
    };
    assert_eq!(wanted, said);
    let tagged = br#"{"id":"S","pool_id":"linux","tags":{"accountID":"acme"}}"#;
    assert_eq!(SetupVm::read(tagged).unwrap().1.account, "acme");
}

#[test]
fn p13_a_setup_that_is_none_is_told_what_is_wrong_in_the_incumbents_words() {
    assert_eq!(setup_error(""), "{\"error_msg\":\"EOF\"}\n");
    assert_eq!(
        setup_error("{\"id\":"),
        "{\"error_msg\":\"unexpected EOF\"}\n"
    );
    assert_eq!(
        setup_error("{}"),
        "{\n  \"error_msg\": \"mandatory field 'id' in the request body is empty\",\n  \
         \"code\": 400\n}"
    );
    assert!(setup_error("null").contains("mandatory field 'id'"));
    assert!(setup_error(r#"{"id":"S"}"#).contains("mandatory field 'pool_id'"));
    let error = setup_error(r#"{"id":"S","pool_id":"p","setup_request":{"envs":{"A":1}}}"#);
    assert!(
        error.contains("json: setup_request.envs.A: invalid type: integer"),
        "{error}"
    );
    let error = setup_error(
        r#"{"id":"S","pool_id":"p","setup_request":{"files":[{"path":"d","is_dir":true}]}}"#,
    );
    assert!(error.contains("setup_request.files[0].is_dir"), "{error}");
}

#[test]
fn a_step_is_its_entrypoint_with_its_commands() {
    let (stage, step) = ExecuteVm::read(
        br#"{"stage_runtime_id":"S","instance_id":"i","start_step_request":{"id":"build",
            "kind":"Run","run":{"commands":["echo $0","c2"],"entrypoint":["sh","-c"]},
            "environment":{"A":"1","TOKEN":"s3cret"},"secrets":["s3cret","other"],
            "working_dir":"/ws","timeout":60,"volumes":[{"name":"_workspace","path":"/ws"}],
            "output_vars":null,"user":""}}"#,
    )
    .unwrap();
    assert_eq!((stage.as_str(), step.id.as_str()), ("S", "build"));
    assert_eq!(step.command, ["sh", "-c", "echo $0", "c2"]);
    assert_eq!(step.env.keys().collect::<Vec<_>>(), ["A"]);
    let secrets: Vec<_> = step
        .secret_env
        .iter()
        .map(|(k, v)| (k.as_str(), v.expose()))
        .collect();
    assert_eq!(secrets, [("TOKEN", "s3cret"), ("VMPOOL_MASKED_0", "other")]);
    assert_eq!(step.workdir, Some("/ws".into()));
    assert_eq!(
        (step.user, step.timeout),
        (None, Some(Duration::from_secs(60)))
    );
}

#[test]
fn p13_a_step_that_can_not_be_honoured_is_refused_by_its_field() {
    assert!(step_error("{}").contains("either parameter 'id' or 'ip_address'"));
    assert!(step_error(r#"{"stage_runtime_id":"S"}"#).contains("'start_step_request.id'"));
    for (field, value) in [
        ("kind", "\"RunTest\""),
        ("image", "\"alpine\""),
        ("detach", "true"),
        ("output_vars", "[\"A\"]"),
        ("outputs", "[{\"key\":\"A\"}]"),
        ("files", "[{\"path\":\"f\"}]"),
    ] {
        let body = format!(
            r#"{{"stage_runtime_id":"S","start_step_request":{{"id":"b","{field}":{value}}}}}"#
        );
        let error = step_error(&body);
        assert!(
            error.contains(&format!("start_step_request.{field}: ")),
            "{error}"
        );
    }
}

#[test]
fn a_step_without_an_entrypoint_ends_as_with_the_incumbent() {
    let body =
        br#"{"stage_runtime_id":"S","start_step_request":{"id":"b","run":{"commands":["x"]}}}"#;
    let answer = ExecuteVm::read(body).unwrap_err();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        text(&answer),
        r#"{"exited":true,"exit_code":255,"error":"step entrypoint cannot be empty"}"#
    );
}

#[test]
fn the_end_of_a_step_has_the_incumbents_shape() {
    let end = |status| {
        let at = Timestamp(0);
        let ended = StepOutcome {
            status,
            started_at: at,
            ended_at: at,
            log_end: 0,
        };
        text(&outcome(&ended)).to_owned()
    };
    assert_eq!(end(StepStatus::Exited { code: 0 }), r#"{"exited":true}"#);
    assert_eq!(
        end(StepStatus::Exited { code: 3 }),
        r#"{"exited":true,"exit_code":3,"error":"exit status 3"}"#
    );
    assert_eq!(
        end(StepStatus::OutOfMemory),
        r#"{"exited":true,"exit_code":137,"error":"oom killed","oom_killed":true}"#
    );
    let signalled = end(StepStatus::Signalled { signal: 9 });
    assert!(signalled.contains(r#""exit_code":-1"#), "{signalled}");
    let lost = end(StepStatus::Lost {
        reason: "the machine is gone".into(),
    });
    assert!(
        lost.contains(r#""exit_code":255"#) && lost.contains("the machine is gone"),
        "{lost}"
    );
}

#[test]
fn p11_what_is_read_shows_no_content() {
    let body = br#"{"id":"S","setup_request":{"envs":{"A":"s3cret"},"secrets":["s3cret"]}}"#;
    let request: SetupVm = serde_json::from_slice(body).unwrap();
    assert!(!format!("{request:?}").contains("s3cret"));
    let body = br#"{"stage_runtime_id":"S","start_step_request":{"secrets":["s3cret"]}}"#;
    let request: ExecuteVm = serde_json::from_slice(body).unwrap();
    assert!(!format!("{request:?}").contains("s3cret"));
}

#[test]
fn p11_who_sends_a_value_of_another_type_is_not_shown_it() {
    let error = setup_error(r#"{"id":"S","setup_request":{"timeout":"s3cr3t"}}"#);
    assert!(error.contains("setup_request.timeout"), "{error}");
    assert!(!error.contains("s3cr3t"), "{error}");
}
