//! How requests are read and answered, whatever they are about.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::support::{Site, setup};

/// What is answered to these bytes, head and all.
fn raw(site: &Site, request: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", site.port()));
    let mut stream = stream.expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.to_lowercase()
}

fn post(site: &Site, path: &str, body: &str) -> String {
    let length = body.len();
    let head = "host: x\r\nconnection: close\r\ncontent-type: text/plain";
    raw(
        site,
        &format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
}

#[tokio::test]
async fn cases_1_to_7_and_19_20_25_are_answered_in_the_incumbents_words() {
    let site = Site::new(0, 2);
    let _runner = site.serve().await;
    let health = site.get("/healthz").await.expect("case 1");
    assert_eq!((health.status, health.body.as_str()), (200, "OK"), "case 1");

    let ask = async |path: &str, body: &str| {
        let body = body.to_owned().into();
        let answered = site.ask("POST", path, body).await.expect("an answer");
        (answered.status, answered.body)
    };
    let (status, body) = ask("/pool_owner", "").await;
    let missing = "{\"error_msg\":\"mandatory URL parameter 'pool' is missing\"}\n";
    assert_eq!((status, body.as_str()), (400, missing), "case 2");
    let owns = async |query: &str| ask(&format!("/pool_owner?{query}"), "").await.1;
    assert_eq!(owns("pool=nope").await, "{\"owner\":false}", "case 3");
    assert_eq!(owns("pool=linux").await, "{\"owner\":true}", "case 3");
    assert_eq!(
        owns("pool=linux&stageId=s").await,
        "{\"owner\":false}",
        "case 4"
    );

    let (status, body) = ask("/setup", "{").await;
    assert!(
        status == 400 && body.contains("unexpected EOF"),
        "case 5: {body}"
    );
    assert_eq!(
        ask("/setup", "").await,
        (400, "{\"error_msg\":\"EOF\"}\n".into()),
        "case 5"
    );
    let (status, body) = ask("/setup", "{}").await;
    let id = "{\n  \"error_msg\": \"mandatory field 'id' in the request body is empty\",\n  \
              \"code\": 400\n}";
    assert_eq!((status, body.as_str()), (400, id), "case 6");
    let (_, body) = ask("/setup", r#"{"id":"a"}"#).await;
    assert!(body.contains("mandatory field 'pool_id'"), "case 6: {body}");
    let (status, body) = ask("/setup", r#"{"id":"a","pool_id":"nope"}"#).await;
    assert_eq!(status, 500, "case 7");
    let unknown = "could not provision a VM from the pool: could not find pool: nope";
    assert!(
        body.contains(unknown) && body.contains("\"code\": 500"),
        "case 7: {body}"
    );

    let (status, body) = ask("/step", "{}").await;
    assert_eq!(status, 400, "case 19");
    assert!(
        body.contains("either parameter 'id' or 'ip_address' must be provided"),
        "{body}"
    );
    let step = json!({"stage_runtime_id": "s", "start_step_request": {"id": "b",
        "run": {"entrypoint": ["sh"]}}});
    let (status, body) = ask("/step", &step.to_string()).await;
    assert_eq!(status, 500, "case 20");
    assert!(
        body.contains("failed to find stage owner entity for stage: s"),
        "case 20: {body}"
    );
    let (status, body) = ask("/destroy", "{}").await;
    assert_eq!(status, 400, "case 25");
    assert!(
        body.contains("mandatory field 'stage_runtime_id' in the request body"),
        "{body}"
    );

    site.setup("s").await;
    assert_eq!(
        owns("pool=linux&stageId=s").await,
        "{\"owner\":true}",
        "case 4"
    );
    assert_eq!(
        owns("pool=other&stageId=s").await,
        "{\"owner\":false}",
        "case 4"
    );
    site.destroy("s").await;
}

#[tokio::test]
async fn case_29_a_suspension_is_refused_with_what_is_missing() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    let ask = async |body: serde_json::Value| site.post("/suspend", &body).await.expect("answered");
    let none = ask(json!({})).await;
    assert!(
        none.status == 400 && none.body.contains("'stage_runtime_id'"),
        "{none:?}"
    );
    let info = json!({"id": "i", "name": "i", "ip_address": "10.0.0.1", "port": 9079,
        "os": "linux", "arch": "amd64", "provider": "amazon", "pool_name": "linux"});
    let part = ask(json!({"stage_runtime_id": "s", "instance_info": info})).await;
    assert_eq!(part.status, 400, "{part:?}");
    assert!(
        part.json()["error_msg"] == "invalid instance info: field \"Zone\" is not populated",
        "{part:?}"
    );
}

#[tokio::test]
async fn bodies_are_read_and_answers_are_shaped_as_the_incumbent_does() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    let body = "{\"id\":\"\",\"unknown\":{\"deep\":[1]}} and what follows";
    let told = post(&site, "/setup", body);
    assert!(told.starts_with("http/1.1 400"), "{told}");
    assert!(
        told.contains("content-type: application/json\r\n"),
        "{told}"
    );
    let malformed = post(&site, "/setup", "[]");
    assert!(
        malformed.contains("content-type: application/json; charset=utf-8\r\n"),
        "{malformed}"
    );
    let wrong = raw(
        &site,
        "GET /setup HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(wrong.starts_with("http/1.1 405"), "{wrong}");
    assert!(wrong.ends_with("\r\n\r\n"), "it has no body: {wrong}");
    let nowhere = raw(
        &site,
        "GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(nowhere.starts_with("http/1.1 404"), "{nowhere}");
    assert!(nowhere.ends_with("404 page not found\n"), "{nowhere}");
    let whole = format!("{}  trailing", setup("s"));
    let set_up = post(&site, "/setup", &whole);
    assert!(set_up.starts_with("http/1.1 200"), "{set_up}");
    assert!(
        set_up.contains("content-type: application/json\r\n"),
        "{set_up}"
    );
    let destroyed = post(&site, "/destroy", "{\"id\":\"s\"}");
    assert!(
        destroyed.ends_with("\r\n\r\n"),
        "it has no body: {destroyed}"
    );
}
