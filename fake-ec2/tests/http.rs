//! The fake over HTTP: protocols, broken connections, its own door, and what
//! machines are told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use fake_ec2::{
    Birth, Clock, Config, Control, DEFAULT_ACCOUNT, FakeEc2, Fault, Hollow, Machines, Policy, Rule,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A fake, and a client of it.
struct Site {
    fake: FakeEc2,
    connections: JoinSet<()>,
}

impl Site {
    async fn new() -> Self {
        Self::with(Arc::new(Hollow)).await
    }

    async fn with(machines: Arc<dyn Machines>) -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(Config::default(), Clock::manual(), machines, listen)
            .await
            .unwrap();
        Self {
            fake,
            connections: JoinSet::new(),
        }
    }

    /// One request on a connection of its own.
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, String), hyper::Error> {
        let stream = TcpStream::connect(self.fake.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.connections.spawn(async move {
            // A broken connection is what some tests are about.
            drop(connection.await);
        });
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    async fn signed(
        &mut self,
        key: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(StatusCode, String), hyper::Error> {
        let scope = format!("{key}/20260101/us-east-1/{service}/aws4_request");
        let mut request = Request::builder().method(Method::POST).uri("/").header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"),
        );
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        self.send(request.body(body).unwrap()).await
    }

    async fn ec2(&mut self, body: &str) -> Result<(StatusCode, String), hyper::Error> {
        self.signed("any", "ec2", &[], body).await
    }

    async fn own(&mut self, method: Method, path: &str, body: Value) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        self.send(request).await.unwrap()
    }

    fn launch(&self) -> String {
        let image = self.fake.control().with(|cloud, _| {
            let images = &cloud.config().catalog.images;
            images[0].id("us-east-1")
        });
        format!(
            "Action=RunInstances&Version=2016-11-15&ImageId={image}&InstanceType=m6i.large\
             &MinCount=1&MaxCount=1&ClientToken=t"
        )
    }
}

/// The text of the first element of that name.
fn text<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("{name} in {xml}"));
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn a_call_and_its_refusal_are_written_as_ec2_writes_them() {
    let mut site = Site::new().await;
    let (status, body) = site.ec2(&site.launch()).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(
        body.contains("<RunInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"),
        "{body}"
    );
    assert!(text(&body, "instanceId").starts_with("i-0"));
    let (status, body) = site
        .ec2("Action=DescribeInstances&InstanceId.1=i-00000000000000000")
        .await
        .unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("<Response><Errors><Error>"), "{body}");
    assert_eq!(text(&body, "Code"), "InvalidInstanceID.NotFound");
    assert_eq!(text(&body, "RequestID").len(), 36);
}

#[tokio::test]
async fn nobody_is_refused_and_nonsense_too() {
    let mut site = Site::new().await;
    let request = Request::post("/").body(Full::new(Bytes::from("Action=DescribeVpcs")));
    let (status, body) = site.send(request.unwrap()).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(text(&body, "Code"), "AuthFailure");
    for body in ["", "&&&", "Action", "a..b=1", "\u{0}=%ff"] {
        let (status, body) = site.ec2(body).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let large = "x".repeat(2 * 1024 * 1024);
    if let Ok((status, _)) = site.ec2(&large).await {
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_lost_answer_is_a_broken_connection_and_its_machine_is_there() {
    let mut site = Site::new().await;
    site.fake
        .control()
        .fault(Rule::on("RunInstances", Fault::LoseAnswer).times(1));
    let launch = site.launch();
    let broken = site.ec2(&launch).await.unwrap_err();
    assert!(broken.is_incomplete_message(), "{broken:?}");
    let count = |site: &Site| {
        site.fake
            .control()
            .with(|cloud, _| cloud.instances().count())
    };
    assert_eq!(count(&site), 1);
    let (status, _) = site.ec2(&launch).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(count(&site), 1);
}

#[tokio::test]
async fn an_assumed_role_is_of_its_account() {
    let mut site = Site::new().await;
    let role = "arn%3Aaws%3Aiam%3A%3A777788889999%3Arole%2Fci%2Fbuilder";
    let body = format!("Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn={role}");
    let (status, body) = site.signed("any", "sts", &[], &body).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    let key = text(&body, "AccessKeyId").to_owned();
    assert_eq!(
        text(&body, "Arn"),
        "arn:aws:sts::777788889999:assumed-role/builder/me"
    );
    let launch = site.launch();
    site.signed(&key, "ec2", &[], &launch).await.unwrap();
    let accounts = site.fake.control().with(|cloud, _| {
        let accounts = cloud.instances().map(|(account, ..)| account.to_owned());
        accounts.collect::<Vec<_>>()
    });
    assert_eq!(accounts, ["777788889999"]);
    site.fake
        .control()
        .policy("any", Policy::all_but(["sts:AssumeRole"]));
    let body = format!("Action=AssumeRole&RoleSessionName=me&RoleArn={role}");
    let (status, body) = site.signed("any", "sts", &[], &body).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(text(&body, "Code"), "AccessDenied");
}

#[tokio::test]
async fn a_parameter_names_an_image_that_is_there() {
    let mut site = Site::new().await;
    let name = "/aws/service/debian/release/12/latest/arm64";
    let target = [("x-amz-target", "AmazonSSM.GetParameters")];
    let body = json!({ "Names": [name, "/none"] }).to_string();
    let (_, body) = site.signed("any", "ssm", &target, &body).await.unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["InvalidParameters"], json!(["/none"]));
    let image = answer["Parameters"][0]["Value"].as_str().unwrap();
    let body = format!("Action=DescribeImages&ImageId.1={image}");
    let (_, body) = site.ec2(&body).await.unwrap();
    assert_eq!(text(&body, "architecture"), "arm64");
    let target = [("x-amz-target", "AmazonSSM.GetParameter")];
    let (status, body) = site
        .signed("any", "ssm", &target, "{\"Name\": \"/none\"}")
        .await
        .unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("ParameterNotFound"), "{body}");
}

#[tokio::test]
async fn its_own_door_shows_and_breaks_the_cloud() {
    let mut site = Site::new().await;
    let rule = json!({ "rule": { "action": "RunInstances", "times": 1, "fault": {
        "kind": "error", "code": "InternalError" } }, "for_ms": 60_000 });
    let (status, _) = site.own(Method::POST, "/_fake/faults", rule).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let launch = site.launch();
    assert_eq!(site.ec2(&launch).await.unwrap().0, 500);
    let limits = json!({ "capacity": [{ "most": 0 }] });
    site.own(Method::PUT, "/_fake/limits", limits).await;
    let (_, body) = site.ec2(&launch).await.unwrap();
    assert_eq!(text(&body, "Code"), "InsufficientInstanceCapacity");
    site.own(Method::PUT, "/_fake/limits", json!({})).await;
    let (_, body) = site.ec2(&launch).await.unwrap();
    let id = text(&body, "instanceId").to_owned();
    let clock = json!({ "advance_ms": 1000 });
    site.own(Method::POST, "/_fake/clock", clock).await;
    let (_, state) = site.own(Method::GET, "/_fake/state", Value::Null).await;
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["instances"][0]["account"], DEFAULT_ACCOUNT);
    assert_eq!(state["instances"][0]["instance"]["state"], "running");
    let these = json!({ "instances": [id] });
    site.own(Method::POST, "/_fake/terminate", these).await;
    let (_, state) = site.own(Method::GET, "/_fake/state", Value::Null).await;
    assert!(state.contains("shutting-down") || state.contains("terminated"));
    let (_, counts) = site.own(Method::GET, "/_fake/counts", Value::Null).await;
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["RunInstances"]["ok"], 1);
    assert_eq!(counts["RunInstances"]["InternalError"], 1);
    let typo = json!({ "instance": ["x"] });
    let (status, _) = site.own(Method::POST, "/_fake/reclaim", typo).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// Notes what machines are told.
#[derive(Default)]
struct Told {
    story: Mutex<Vec<String>>,
    changed: tokio::sync::Notify,
}

impl Told {
    fn note(&self, what: String) {
        self.story.lock().push(what);
        self.changed.notify_one();
    }

    async fn until(&self, count: usize) -> Vec<String> {
        let wait = async {
            loop {
                let story = self.story.lock().clone();
                if story.len() >= count {
                    return story;
                }
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("machines are told within a minute")
    }
}

#[async_trait]
impl Machines for Told {
    async fn start(&self, birth: Birth, control: &Control) {
        control.console(&birth.instance, b"login: ");
        self.note(format!("start {:?}", birth.cause));
    }

    async fn stop(&self, _: &str, hibernate: bool) {
        self.note(format!("stop {hibernate}"));
    }

    async fn terminate(&self, _: &str) {
        self.note("terminate".to_owned());
    }

    async fn notice(&self, _: &str, _: Timestamp) {
        self.note("notice".to_owned());
    }

    async fn end(&self) {
        self.note("end".to_owned());
    }
}

#[tokio::test]
async fn machines_are_told_what_the_cloud_decides_in_its_order() {
    let told = Arc::new(Told::default());
    let mut site = Site::with(told.clone()).await;
    let launch = site.launch() + "&InstanceMarketOptions.MarketType=spot";
    let (_, body) = site.ec2(&launch).await.unwrap();
    let id = text(&body, "instanceId").to_owned();
    told.until(1).await;
    let control = site.fake.control().clone();
    control.reclaim([id.as_str()], None);
    told.until(2).await;
    control.advance(Duration::from_secs(120));
    let story = told.until(3).await;
    assert_eq!(story, ["start Launched", "notice", "terminate"]);
    let body = format!("Action=GetConsoleOutput&InstanceId={id}");
    let (_, body) = site.ec2(&body).await.unwrap();
    assert!(!text(&body, "output").is_empty());
    site.fake.stop().await;
    assert_eq!(told.until(4).await[3], "end");
}
