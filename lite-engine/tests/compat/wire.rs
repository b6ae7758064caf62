//! Routes, statuses and shapes.

use serde_json::json;

use crate::support::{Agent, Answer, setup0, step_with};

fn is_uncached_json(answer: &Answer) {
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("expires"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(
        header("cache-control"),
        Some("no-cache, private, max-age=0")
    );
    assert_eq!(header("pragma"), Some("no-cache"));
    assert_eq!(header("x-accel-expires"), Some("0"));
}

#[tokio::test]
async fn c1_c2_health_is_told_with_and_without_a_slash() {
    let agent = Agent::start();
    for path in ["/healthz", "/healthz/"] {
        let answer = agent.caller().get(path).await;
        assert_eq!(answer.status, 200);
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("{{\n  \"version\": \"{version}\",\n  \"ok\": true\n}}\n");
        assert_eq!(answer.text(), expected);
        is_uncached_json(&answer);
    }
}

#[tokio::test]
async fn c3_health_fails_where_there_is_no_network() {
    // Nobody listens at port 1.
    let agent = Agent::start_with(&[("CONNECTIVITY_CHECK_ADDRESS", "127.0.0.1:1")]);
    let query = "/healthz?perform_dns_lookup=TRUE&connectivity_check_duration_seconds=1";
    let answer = agent.caller().get(query).await;
    assert_eq!(answer.status, 500);
    let error = answer.json()["error_msg"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(
        error.starts_with("connectivity check failed after 1 attempts"),
        "{error}"
    );
    is_uncached_json(&answer);
}

#[tokio::test]
async fn c3_health_is_well_where_there_is_a_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let agent = Agent::start_with(&[("CONNECTIVITY_CHECK_ADDRESS", &address)]);
    let query = "/healthz?perform_dns_lookup=true&connectivity_check_duration_seconds=1";
    assert_eq!(agent.caller().get(query).await.status, 200);
}

#[tokio::test]
async fn c4_c5_wrong_methods_and_unknown_paths() {
    let agent = Agent::start();
    let caller = agent.caller();
    let routes = [
        "/setup",
        "/start_step",
        "/poll_step",
        "/destroy",
        "/suspend",
        "/stream_output",
    ];
    for (method, path) in routes
        .map(|path| ("GET", path))
        .into_iter()
        .chain([("POST", "/healthz")])
    {
        let answer = caller.ask(method, path, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (405, ""),
            "{path}"
        );
    }
    let answer = caller.get("/nope").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "404 page not found\n");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn c6_c7_bodies_that_are_none() {
    let agent = Agent::start();
    let caller = agent.caller();
    for (body, error) in [
        ("", "EOF"),
        ("{", "unexpected EOF"),
        ("{\"envs\":{", "unexpected EOF"),
    ] {
        let answer = caller.ask("POST", "/setup", body).await;
        answer.is_refusal(400, error);
        is_uncached_json(&answer);
    }
    let text = caller.ask("POST", "/setup", "").await.text();
    assert_eq!(text, "{\n  \"error_msg\": \"EOF\"\n}\n");
}

#[tokio::test]
async fn c8_unknown_fields_other_cases_and_what_follows_are_passed_over() {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut setup = setup0();
    setup["something"] = json!({"else": [1, null]});
    let answer = caller.post("/setup", &setup).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "{}\n")
    );
    is_uncached_json(&answer);
    let body = r#"{"Mount_Docker_Socket":false,"ENVS":null,"files":null} and more"#;
    assert_eq!(caller.ask("POST", "/setup/", body).await.status, 200);
}

#[tokio::test]
async fn c13_c14_steps_without_an_id_and_of_wrong_types() {
    let agent = Agent::start();
    let caller = agent.caller();
    let answer = caller.post("/start_step", &json!({})).await;
    answer.is_refusal(400, "ID needs to be set");
    let answer = caller
        .post("/start_step", &json!({"id": "a", "kind": 5}))
        .await;
    assert_eq!(answer.status, 400);
    let error = answer.json()["error_msg"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(error.contains("kind"), "{error}");
}

#[tokio::test]
async fn c15_an_unknown_kind_is_a_command() {
    let agent = Agent::start();
    let caller = agent.caller();
    for (id, kind) in [
        ("a", json!("Whatever")),
        ("b", json!(null)),
        ("c", json!("")),
    ] {
        let step = step_with(id, "exit 0", json!({"kind": kind}));
        assert_eq!(caller.run(&step).await, json!({"exited": true}));
    }
}

#[tokio::test]
async fn c19_polls_of_nobody_and_of_unknown_steps() {
    let agent = Agent::start();
    let caller = agent.caller();
    let answer = caller.post("/poll_step", &json!({"id": "never"})).await;
    answer.is_refusal(400, "Step has not started");
    let answer = caller.post("/poll_step", &json!({"id": ""})).await;
    answer.is_refusal(400, "ID needs to be set");
}

#[tokio::test]
async fn c63_a_handle_that_nobody_has_gets_no_token() {
    let agent = Agent::start();
    let question = json!({"handle": "0".repeat(32), "name": "x"});
    let answer = agent.caller().post("/mint_workload_token", &question).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json(), json!({"error": "unknown workload identity"}));
}
