//! The incumbent's log service: what the init phase says and what steps print.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{Site, setup, step, wait_for};

/// A call: method, path with its query, token, body.
type Called = (String, String, String, String);

#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<Called>>>);

impl Service {
    async fn start() -> (Self, String, JoinSet<()>) {
        let service = Self::default();
        let routes = Router::new()
            .fallback(any(take))
            .with_state(service.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        (service, url, serving)
    }

    /// The bodies of calls of this kind, for this key.
    fn bodies(&self, method: &str, path: &str, key: &str) -> Vec<String> {
        let calls = self.0.lock();
        let of = calls.iter().filter(|(called, at, _, _)| {
            called == method && at.starts_with(path) && at.contains(&format!("key={key}"))
        });
        of.map(|(_, _, _, body)| body.clone()).collect()
    }

    /// The text of a log, as it came live.
    fn live(&self, key: &str) -> String {
        let lines = self
            .bodies("PUT", "/stream", key)
            .into_iter()
            .flat_map(|body| {
                let lines: Vec<Value> = serde_json::from_str(&body).expect("lines");
                lines
            });
        lines
            .filter_map(|line| line["out"].as_str().map(str::to_owned))
            .collect()
    }
}

async fn take(State(service): State<Service>, request: axum::extract::Request) -> String {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_default();
    let token = head.headers.get("x-harness-token");
    let token = token
        .and_then(|token| token.to_str().ok())
        .unwrap_or_default();
    service.0.lock().push((
        head.method.to_string(),
        head.uri.to_string(),
        token.to_owned(),
        String::from_utf8_lossy(&body).into_owned(),
    ));
    String::new()
}

#[tokio::test]
async fn the_init_phase_and_the_steps_are_streamed_to_the_log_service() {
    let (service, url, _serving) = Service::start().await;
    let site = Site::new(1, 2);
    let runner = site.serve().await;
    let mut body = setup("s");
    body["log_key"] = json!("init");
    body["setup_request"]["log_config"] =
        json!({"url": url, "token": "s3cret", "account_id": "acme", "indirect_upload": true});
    let machine = site.insist("/setup", &body).await.machine();
    wait_for("the init phase's log", async || {
        let closed = !service.bodies("DELETE", "/stream", "init").is_empty();
        closed.then_some(())
    })
    .await;
    let told = service.live("init");
    assert!(
        told.contains("Waiting for a machine of pool linux"),
        "{told}"
    );
    assert!(
        told.contains(&format!("Machine {machine} is ready")),
        "{told}"
    );
    assert_eq!(service.bodies("POST", "/blob?", "init").len(), 1);

    // The next process knows where logs go, too.
    assert!(runner.stop().await.success());
    let _runner = site.serve().await;
    let mut request = step("s", "hi", "echo one; echo two; printf three");
    request["start_step_request"]["log_key"] = json!("steps/hi");
    site.insist("/step", &request).await;
    wait_for("the step's log", async || {
        let closed = !service.bodies("DELETE", "/stream", "steps%2Fhi").is_empty();
        closed.then_some(())
    })
    .await;
    let lines = service.live("steps%2Fhi");
    assert!(lines.starts_with("one\ntwo\nthree"), "{lines:?}");
    assert!(
        service
            .0
            .lock()
            .iter()
            .all(|(_, at, token, _)| { token == "s3cret" && at.contains("accountID=acme") })
    );
    site.destroy("s").await;
    wait_for("the token's end", async || {
        let kept = site.path().join("state/logs/s/log-service");
        (!kept.exists()).then_some(())
    })
    .await;
    assert!(!site.said().contains("s3cret"), "P11");
}

#[tokio::test]
async fn a_log_service_that_is_away_fails_and_delays_no_build() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    let mut body = setup("s");
    body["log_key"] = json!("init");
    body["setup_request"]["log_config"] = json!({"url": "http://127.0.0.1:1", "token": "t"});
    site.insist("/setup", &body).await.machine();
    let mut request = step("s", "hi", "echo one");
    request["start_step_request"]["log_key"] = json!("hi");
    let ended = site.insist("/step", &request).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("s", "hi"), "one\n");
    site.destroy("s").await;
}
