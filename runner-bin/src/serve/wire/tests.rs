//! The incumbent's requests as they are read, and its answers as they are written.

use std::time::Duration;

use http::StatusCode;
use vmpool_core::{Returned, StepOutcome, StepStatus, Timestamp, Variable};
use vmpool_pipeline::Wanted;
use vmpool_proto::incumbent::WantedOutput;

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
    let MeantSetup {
        request,
        wanted,
        fallbacks,
        logs,
        ..
    } = SetupVm::read(
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
    assert_eq!((fallbacks, logs), (None, None));
    assert_eq!(request.tags["freeCI"], "true");
    let said = Wanted {
        pool: "linux".into(),
        account: "acme".into(),
        free: true,
        resource_class: "large".into(),
        nested_virtualization: true,
        image: "ami-1".into(),
    };
    assert_eq!(wanted, said);
    let tagged = br#"{"id":"S","pool_id":"linux","tags":{"accountID":"acme"}}"#;
    let tagged = SetupVm::read(tagged).unwrap();
    assert_eq!(tagged.wanted.account, "acme");
}

#[test]
fn a_setup_names_its_fallbacks_its_log_service_and_directories() {
    let setup = SetupVm::read(
        br#"{"id":"S","pool_id":"a","fallback_pool_ids":["b","c"],"log_key":"k",
            "skip_cloud_vm_cleanup":true,"is_marked_for_infra_reset":true,
            "gitspace_agent_config":{"ports":[8080]},"storage_config":{"boot_disk_size":"100"},
            "setup_request":{"log_config":{"url":"http://logs","token":"s3cret","account_id":"acme"},
              "files":[{"path":"d/e","is_dir":true},{"path":"f","data":"x"}]}}"#,
    )
    .unwrap();
    let names: Vec<_> = setup
        .fallbacks
        .iter()
        .flatten()
        .map(vmpool_core::PoolName::as_str)
        .collect();
    assert_eq!(names, ["b", "c"]);
    let target = setup.logs.expect("a service");
    assert_eq!(
        (target.key.as_str(), target.account.as_str()),
        ("k", "acme")
    );
    assert!(!format!("{target:?}").contains("s3cret"));
    let files = &setup.request.setup.files;
    assert!(files[0].is_dir() && files[0].path.to_str() == Some("d/e/"));
    assert!(!files[1].is_dir());
    assert!(setup.request.lasts.is_some(), "it is to be kept");
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
    for (field, rest) in [
        (
            "setup_request.files[0].path",
            r#""setup_request":{"files":[{"path":"/","is_dir":true}]}"#,
        ),
        ("fallback_pool_ids[1]", r#""fallback_pool_ids":["a",""]"#),
        (
            "tags[\\\"vmpool:owner\\\"]",
            r#""tags":{"vmpool:owner":"me"}"#,
        ),
        (
            "setup_request.egress_policy.proxy_url",
            r#""setup_request":{"egress_policy":{"proxy_url":"http://p"}}"#,
        ),
        ("instance_info", r#""instance_info":{"id":"i-1"}"#),
    ] {
        let error = setup_error(&format!(r#"{{"id":"S","pool_id":"p",{rest}}}"#));
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn a_step_is_its_entrypoint_with_its_commands() {
    let MeantStep { stage, step, .. } = ExecuteVm::read(
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
        ("files", "[{\"path\":\"f\"}]"),
        ("workload_identities", "[{\"name\":\"w\"}]"),
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
        text(&outcome(&ended, Returned::default(), &[])).to_owned()
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
fn what_a_step_returned_is_told_with_its_types() {
    let variable = |name: &str, is_secret| Variable {
        name: name.to_owned(),
        value: format!("of {name}"),
        is_secret,
    };
    let returned = Returned {
        exported: [("E".to_owned(), "1".to_owned())].into(),
        outputs: vec![
            variable("A", false),
            variable("B", false),
            variable("C", true),
        ],
        trouble: None,
    };
    let at = Timestamp(0);
    let ended = StepOutcome {
        status: StepStatus::Exited { code: 0 },
        started_at: at,
        ended_at: at,
        log_end: 0,
    };
    let told = outcome(&ended, returned.clone(), &[]);
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(
        told["outputs"],
        serde_json::json!({"A": "of A", "B": "of B"})
    );
    assert_eq!(told["envs"], serde_json::json!({"E": "1"}));
    let wanted = [WantedOutput {
        key: "B".to_owned(),
        kind: "SECRET".to_owned(),
        ..WantedOutput::default()
    }];
    let told = outcome(&ended, returned, &wanted);
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    let typed = serde_json::json!([
        {"key": "B", "value": "of B", "type": "SECRET"},
        {"key": "C", "value": "of C", "type": "SECRET"},
    ]);
    assert_eq!(told["outputV2"], typed);
    let trouble = Returned {
        trouble: Some("too long".to_owned()),
        ..Returned::default()
    };
    let told = outcome(&ended, trouble, &[]);
    assert!(
        text(&told).contains(r#""exit_code":255,"error":"too long""#),
        "{told:?}"
    );
}

#[test]
fn outputs_are_captured_around_the_command() {
    let read = |rest: &str| {
        ExecuteVm::read(
            format!(r#"{{"stage_runtime_id":"S","start_step_request":{{"id":"b",{rest}}}}}"#)
                .as_bytes(),
        )
    };
    let run = r#""run":{"entrypoint":["sh","-c"],"commands":["A=1"]},"output_vars":["A"]"#;
    let meant = read(run).unwrap();
    assert!(
        meant.step.command[2].contains("DRONE_OUTPUT"),
        "{:?}",
        meant.step.command
    );
    assert!(meant.step.returns.is_some());
    let none = read(r#""output_vars":["A"]"#).unwrap_err();
    assert!(
        text(&none).contains("unset entrypoint or command"),
        "{none:?}"
    );
    let user = format!("{run},\"user\":\"1000\"");
    assert!(text(&read(&user).unwrap_err()).contains("start_step_request.user"));
    let tests = r#""kind":"RunTestsV2","run_test_v2":{"entrypoint":["sh","-c"],"commands":["x"]}"#;
    assert_eq!(read(tests).unwrap().step.command, ["sh", "-c", "x"]);
}

#[test]
fn case_29_a_suspension_is_refused_with_the_field_that_is_missing() {
    let answer = |body: &str| text(&SuspendVm::read(body.as_bytes())).to_owned();
    assert!(answer("{}").contains("'stage_runtime_id'"));
    let none = answer(r#"{"stage_runtime_id":"S"}"#);
    assert!(
        none.contains("invalid instance info: field \\\"ID\\\" is not populated"),
        "{none}"
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
