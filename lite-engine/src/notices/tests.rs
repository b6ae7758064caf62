//! Answers as AWS documents them, and a metadata service of our own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

#[test]
fn an_interruption_says_what_is_done_and_when() {
    let text = br#"{"action": "terminate", "time": "2017-09-18T08:22:00Z"}"#;
    let read = interruption(text).expect("as AWS documents it");
    assert_eq!(read, ("terminate".to_owned(), Timestamp(1_505_722_920_000)));
    for (text, why) in [
        ("", "read its answer"),
        ("terminate", "read its answer"),
        (r#"{"action": "stop"}"#, "read its answer"),
        (
            r#"{"action": "", "time": "2017-09-18T08:22:00Z"}"#,
            "read action",
        ),
        (
            r#"{"action": "a\nb", "time": "2017-09-18T08:22:00Z"}"#,
            "read action",
        ),
        (r#"{"action": "stop", "time": "soon"}"#, "read time"),
        (
            r#"{"action": "stop", "time": "1917-09-18T08:22:00Z"}"#,
            "before 1970",
        ),
    ] {
        let error = interruption(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(why), "P13: {text}: {error}");
    }
}

#[test]
fn a_recommendation_says_when_it_was_made() {
    let text = br#"{"noticeTime": "2020-10-27T08:22:00Z"}"#;
    assert_eq!(
        rebalance(text).expect("as AWS documents it"),
        Timestamp(1_603_786_920_000)
    );
    assert!(rebalance(br#"{"time": "2020-10-27T08:22:00Z"}"#).is_err());
}

proptest! {
    #[test]
    fn whatever_is_answered_is_read_or_refused(text: Vec<u8>, action: String, time: String) {
        let _ = (interruption(&text), rebalance(&text));
        let text = serde_json::json!({"action": action, "time": time}).to_string();
        let _ = interruption(text.as_bytes());
    }
}

#[test]
fn an_endpoint_is_a_plain_url() {
    let read = |text: &str| {
        text.parse::<Endpoint>()
            .map(|endpoint| endpoint.to_string())
    };
    assert_eq!(
        read("http://169.254.169.254").expect("EC2's"),
        "http://169.254.169.254:80"
    );
    assert_eq!(
        read("http://[fd00:ec2::254]/").expect("EC2's"),
        "http://[fd00:ec2::254]:80"
    );
    assert_eq!(
        read("http://127.0.0.1:1/imds/").expect("one"),
        "http://127.0.0.1:1/imds"
    );
    for text in ["", "169.254.169.254", "https://169.254.169.254", "http://"] {
        assert!(read(text).is_err(), "P13: {text}");
    }
}

/// A metadata service that has something to say, or not.
#[derive(Default)]
struct Fake {
    tokens: AtomicUsize,
    interruption: Mutex<Option<&'static str>>,
    rebalance: Mutex<Option<&'static str>>,
}

impl Fake {
    async fn start(self: &Arc<Self>) -> (Endpoint, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("a port");
        let (fake, mut tasks) = (self.clone(), JoinSet::new());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = fake.clone();
                let answer = service_fn(move |request| {
                    let answer = fake.answer(&request);
                    async { Ok::<_, Infallible>(answer) }
                });
                let io = TokioIo::new(stream);
                let _ = http1::Builder::new().serve_connection(io, answer).await;
            }
        });
        let endpoint = format!("http://{at}").parse().expect("an endpoint");
        (endpoint, tasks)
    }

    /// The token that is good from now on.
    fn token(&self) -> String {
        format!("token-{}", self.tokens.load(Ordering::Relaxed))
    }

    fn forget_tokens(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
        let path = request.uri().path();
        let (status, body) = match (request.method(), path) {
            (&Method::PUT, "/latest/api/token") => {
                match header("x-aws-ec2-metadata-token-ttl-seconds") {
                    Some("21600") => {
                        self.forget_tokens();
                        (StatusCode::OK, self.token())
                    }
                    _ => (StatusCode::BAD_REQUEST, String::new()),
                }
            }
            _ if header("x-aws-ec2-metadata-token") != Some(&self.token()) => {
                (StatusCode::UNAUTHORIZED, String::new())
            }
            (&Method::GET, path) => {
                let said = match path {
                    INTERRUPTION => *self.interruption.lock(),
                    REBALANCE => *self.rebalance.lock(),
                    _ => None,
                };
                match said {
                    Some(text) => (StatusCode::OK, text.to_owned()),
                    None => (StatusCode::NOT_FOUND, "<html>404</html>".to_owned()),
                }
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        };
        let mut answer = Response::new(Full::new(body.into()));
        *answer.status_mut() = status;
        answer
    }
}

const SOON: &str = r#"{"action": "terminate", "time": "2017-09-18T08:22:00Z"}"#;

#[tokio::test]
async fn the_gravest_notice_is_told_once_and_stays() {
    let fake = Arc::new(Fake::default());
    let (endpoint, _tasks) = fake.start().await;
    let mut service = Service::new(endpoint);
    let notices = Notices::default();
    let mut told = notices.watch();
    let now = Timestamp(7_000);

    notices.ask(&mut service, now).await.expect("no notice");
    assert!(!told.has_changed().expect("it is there"));

    *fake.rebalance.lock() = Some(r#"{"noticeTime": "2020-10-27T08:22:00Z"}"#);
    notices.ask(&mut service, now).await.expect("one");
    let notice = told.borrow_and_update().clone().expect("one");
    assert_eq!(notice.kind, NoticeKind::Rebalance);
    assert_eq!(notice.at, Timestamp(1_603_786_920_000));

    *fake.interruption.lock() = Some(SOON);
    notices.ask(&mut service, now).await.expect("both");
    let notice = told.borrow_and_update().clone().expect("the graver");
    assert_eq!(notice.kind, NoticeKind::SpotInterruption);
    assert_eq!(
        (notice.at, notice.acts_at),
        (now, Some(Timestamp(1_505_722_920_000)))
    );

    *fake.interruption.lock() = None;
    notices
        .ask(&mut service, now.after(EVERY))
        .await
        .expect("both");
    assert!(!told.has_changed().expect("it is there"), "it stays");
    assert_eq!(fake.tokens.load(Ordering::Relaxed), 1, "one token does");
}

#[tokio::test]
async fn a_token_that_is_over_is_got_again() {
    let fake = Arc::new(Fake::default());
    let (endpoint, _tasks) = fake.start().await;
    let mut service = Service::new(endpoint);
    assert_eq!(service.get(INTERRUPTION).await.expect("no notice"), None);
    fake.forget_tokens();
    *fake.interruption.lock() = Some(SOON);
    let said = service.get(INTERRUPTION).await.expect("an answer");
    assert_eq!(said.as_deref(), Some(SOON.as_bytes()));
}

#[tokio::test]
async fn a_service_that_answers_anything_is_told_of_and_harms_nothing() {
    let fake = Arc::new(Fake::default());
    let (endpoint, tasks) = fake.start().await;
    let mut service = Service::new(endpoint);
    let notices = Notices::default();
    *fake.interruption.lock() = Some("hello");
    let error = notices.ask(&mut service, Timestamp(1)).await;
    let error = error.expect_err("P13: it is no JSON").to_string();
    assert!(error.contains("read its answer"), "{error}");
    drop(tasks);
    let error = notices.ask(&mut service, Timestamp(1)).await;
    let error = error.expect_err("nobody is there").to_string();
    assert!(error.starts_with("/latest/"), "{error}");
    assert_eq!(*notices.watch().borrow(), None);
}

#[tokio::test]
async fn a_service_that_never_answers_is_not_waited_for() {
    // Connects are taken by the system; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("a port");
    let endpoint = format!("http://{at}").parse().expect("an endpoint");
    let error = Service::new(endpoint).get(INTERRUPTION).await;
    let error = error.expect_err("P10: it has its time").to_string();
    assert!(error.contains("no answer in 2s"), "{error}");
}
