//! Input that nobody should send: clear errors, nothing changes, and memory
//! stays bounded (P13).

use std::path::Path;

use serde_json::json;

use crate::support::{Site, refused, setup};

/// JSON that is deep.
fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn p13_hostile_json_is_refused_and_changes_nothing() {
    let site = Site::new(0, 2);
    let _runner = site.serve().await;
    let bodies = [
        "null".to_owned(),
        "true".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "{\"id\":1}".to_owned(),
        "{\"id\":{}}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":[\"linux\"]}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"setup_request\":7}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"tags\":{\"a\":1}}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"setup_request\":{\"timeout\":-1}}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"setup_request\":{\"timeout\":1e99}}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"setup_request\":{\"envs\":{\"\":\"x\"}}}".to_owned(),
        format!(
            "{{\"id\":\"a\",\"pool_id\":\"linux\",\"unknown\":{}}}",
            deep(100_000)
        ),
        deep(1_000_000),
        format!(
            "{{\"id\":\"{}\",\"pool_id\":\"linux\"}}",
            "a".repeat(1 << 20)
        ),
        "{\"id\":\"a\",\"pool_id\":\"../../etc\"}".to_owned(),
        "{\"id\":\"\\u0000\",\"pool_id\":\"linux\"}".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"id\":\"a\",\"pool_id\":\"linux\",\"fallback_pool_ids\":\"linux\"}".to_owned(),
        "{\"stage_runtime_id\":[]}".to_owned(),
        "{\"stage_runtime_id\":\"a\",\"start_step_request\":{\"id\":\"b\",\"run\":7}}".to_owned(),
        "{\"stage_runtime_id\":\"a\",\"start_step_request\":{\"environment\":[]}}".to_owned(),
    ];
    for path in ["/setup", "/step", "/destroy", "/suspend"] {
        for body in &bodies {
            let answered = site.ask("POST", path, body.clone().into()).await;
            let answered = answered.expect("an answer");
            let shown: String = body.chars().take(80).collect();
            // `/destroy` knows nothing of the other fields, and stages that are none are ended.
            let fine = path == "/destroy" && answered.status == 200;
            assert!(
                fine || matches!(answered.status, 400 | 500),
                "{path} {shown}: {answered:?}"
            );
            assert!(
                fine || answered.json()["error_msg"].is_string(),
                "{path} {shown}"
            );
            assert!(
                answered.body.len() < 4096,
                "{path} {shown}: no more than is of use"
            );
        }
    }
    let bytes = vec![0xff; 1 << 16];
    let answered = site.ask("POST", "/setup", bytes.into()).await;
    assert_eq!(answered.expect("an answer").status, 400);
    assert_eq!(site.processes().len(), 1, "no machine was launched");
    site.setup("good").await;
    site.destroy("good").await;
}

#[tokio::test]
async fn p13_bodies_of_100_mb_are_refused_and_take_no_memory() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    for path in [
        "/setup",
        "/step",
        "/destroy",
        "/suspend",
        "/pool_owner?pool=linux",
    ] {
        let answered = site.pour(path, "content-length: 100000000").await;
        assert!(answered.starts_with("HTTP/1.1 413 "), "{path}: {answered}");
    }
    let peak = site.peak_memory();
    assert!(peak < 256 << 20, "{peak} bytes");
    let nowhere = json!({"id": "s", "pool_id": "nope", "fallback_pool_ids": ["a", "b", "c"]});
    assert_eq!(site.insist("/setup", &nowhere).await.status, 500);
    let many: Vec<_> = (0..10_000).map(|n| format!("p{n}")).collect();
    let mut body = setup("s");
    body["pool_id"] = json!("nope");
    body["fallback_pool_ids"] = json!(many);
    let told = site.insist("/setup", &body).await;
    assert_eq!(told.status, 400, "{told:?}");
}

#[tokio::test]
async fn p13_hostile_yaml_is_refused_with_its_place_and_starts_nothing() {
    let site = Site::new(0, 1);
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (of, name) in ('a'..='h').zip('b'..='i') {
        let line = format!("{name}: &{name} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n");
        bomb.push_str(&line);
    }
    bomb += "instances: *i\n";
    for file in [
        String::new(),
        "instances: 7\n".to_owned(),
        "instances: [7]\n".to_owned(),
        "instances: [{name: 7}]\n".to_owned(),
        "instances:\n- name: x\n  type: local\n  pool: many\n".to_owned(),
        format!("instances: {}\n", deep(20_000)),
        "\u{0}".to_owned(),
        "instances: [{name: x, type: local, spec: &x {root: *x}}]\n".to_owned(),
        "%YAML 9.9\n---\n- {".to_owned(),
        bomb,
    ] {
        site.pool_file(&file);
        let (code, said) = refused(&site);
        let shown: String = file.chars().take(60).collect();
        assert_eq!(code, 2, "{shown:?}: {said}");
        assert!(said.contains("pool.yml"), "{shown:?}: {said}");
        assert!(!said.contains("panicked"), "{shown:?}: {said}");
    }
    assert!(
        !Path::new(&site.path().join("state/vmpool.db")).exists(),
        "nothing is begun"
    );
}
