//! C67 to C70 against a log service on this machine that fails at will.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::livelog::{Client, ClientConfig, ClientError, Pace, Settings, Uploaded, Uploader};
use crate::log::{LogReader, LogSpace, LogWriter, Progress, StepLog};

const KEY: &str = "pipeline:a/b c&d";
const QUERY: &str = "?accountID=an%20account&key=pipeline%3Aa%2Fb%20c%26d";

/// What a call that should have been answered meets instead.
#[derive(Clone, Copy)]
enum Fault {
    Status(u16),
    /// The connection ends without an answer.
    Ends,
    /// No answer comes.
    Silence,
}

struct Call {
    /// Method, path and query.
    what: String,
    token: Option<String>,
    body: Bytes,
    answered: bool,
}

#[derive(Default)]
struct Service {
    calls: Vec<Call>,
    /// Faults of the next calls of so beginning methods and paths.
    faults: Vec<(&'static str, VecDeque<Fault>)>,
    address: String,
}

impl Service {
    fn answered(&self) -> Vec<&str> {
        let answered = self.calls.iter().filter(|call| call.answered);
        answered.map(|call| call.what.as_str()).collect()
    }

    fn bodies(&self, what: &str) -> Vec<&Bytes> {
        self.calls
            .iter()
            .filter(|call| call.answered && call.what.starts_with(what))
            .map(|call| &call.body)
            .collect()
    }

    /// The texts of all lines in the live stream, in order; each number once.
    fn live(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for body in self.bodies("PUT /log/stream") {
            let batch: Vec<serde_json::Value> = serde_json::from_slice(body).expect("an array");
            for line in batch {
                assert_eq!(line["pos"], lines.len());
                assert_eq!(line["level"], "info");
                assert!(line["args"].is_null() && line["time"].is_string());
                lines.push(line["out"].as_str().expect("a text").to_owned());
            }
        }
        lines
    }

    fn blob(&self, what: &str) -> Vec<String> {
        let blobs = self.bodies(what);
        assert_eq!(blobs.len(), 1, "one blob");
        serde_json::Deserializer::from_slice(blobs[0])
            .into_iter::<serde_json::Value>()
            .map(|line| {
                line.expect("a line of JSON")["out"]
                    .as_str()
                    .expect("a text")
                    .to_owned()
            })
            .collect()
    }
}

struct Running {
    service: Arc<Mutex<Service>>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let service = Arc::new(Mutex::new(Service {
            address,
            ..Service::default()
        }));
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (of, tasks, end) = (Arc::clone(&service), tracker.clone(), cancel.clone());
        tracker.spawn(async move {
            while let Some(Ok((stream, _))) = end.run_until_cancelled(listener.accept()).await {
                let (of, end) = (Arc::clone(&of), end.clone());
                tasks.spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&of), request));
                    let serve =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                    let _ = end.run_until_cancelled(serve).await;
                });
            }
        });
        Self {
            service,
            tracker,
            cancel,
        }
    }

    fn fails(self, what: &'static str, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().collect();
        self.service.lock().faults.push((what, faults));
        self
    }

    fn client(&self, indirect: bool) -> Client {
        Client::new(ClientConfig {
            url: format!("http://{}/log/", self.service.lock().address),
            account: "an account".into(),
            token: "t0ken".into(),
            indirect,
            pace: Pace {
                call: Duration::from_millis(400),
                blob: Duration::from_millis(400),
                wait: Duration::from_millis(1),
                wait_max: Duration::from_millis(5),
                tries: 6,
            },
        })
        .expect("a client")
    }

    async fn stop(self) -> Service {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        let service = Arc::into_inner(self.service).expect("all tasks have ended");
        service.into_inner()
    }
}

async fn answer(
    service: Arc<Mutex<Service>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let what = format!("{} {}", head.method, head.uri);
    let token = head.headers.get("X-Harness-Token");
    let token = token.map(|token| token.to_str().expect("plain").to_owned());
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let fault = {
        let mut service = service.lock();
        let fault = service
            .faults
            .iter_mut()
            .find(|(begins, _)| what.starts_with(begins))
            .and_then(|(_, faults)| faults.pop_front());
        service.calls.push(Call {
            what: what.clone(),
            token,
            body: body.to_bytes(),
            answered: fault.is_none(),
        });
        fault
    };
    let mut answer = Response::new(Full::default());
    match fault {
        Some(Fault::Ends) => return Err(std::io::Error::other("on purpose")),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Status(code)) => {
            *answer.status_mut() = StatusCode::from_u16(code).expect("a status");
            return Ok(answer);
        }
        None => {}
    }
    if what.contains("/blob/link/upload") {
        let link = format!("http://{}/signed?s=1", service.lock().address);
        *answer.body_mut() = serde_json::json!({ "link": link }).to_string().into();
    }
    Ok(answer)
}

struct Log {
    folder: TempDir,
    writer: LogWriter,
    progress: watch::Sender<Progress>,
}

impl Log {
    const SPACE: LogSpace = LogSpace {
        segment_bytes: 1024 * 1024,
        stage_bytes: 64 * 1024 * 1024,
    };

    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let writer = LogWriter::new(folder.path(), "step", Self::SPACE);
        let (progress, _) = watch::channel(Progress::default());
        Self {
            folder,
            writer,
            progress,
        }
    }

    fn of(text: &[u8]) -> Self {
        let mut log = Self::new();
        log.append(text);
        log.end();
        log
    }

    fn append(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            let written = self.writer.append(text, false).expect("written");
            text = &text[written..];
        }
        let written = self.writer.offset();
        self.progress.send_modify(|now| now.written = written);
    }

    fn end(&self) {
        self.progress.send_modify(|now| now.ended = true);
    }

    fn reader(&self) -> LogReader {
        let log = StepLog::new(self.folder.path(), "step", Self::SPACE.segment_bytes, 0);
        let progress = self.progress.subscribe();
        LogReader::new(Arc::new(log), progress, CancellationToken::new(), 0)
    }
}

fn settings() -> Settings {
    Settings {
        key: KEY.into(),
        ..Settings::default()
    }
}

async fn uploaded(running: &Running, text: &[u8], settings: Settings) -> Uploaded {
    let log = Log::of(text);
    Uploader::to_service(running.client(false), settings)
        .run(log.reader(), CancellationToken::new())
        .await
}

#[tokio::test]
async fn c67_a_log_is_streamed_put_to_its_link_and_closed() {
    let running = Running::start().await;
    let done = uploaded(&running, b"one\ntwo\ntail", settings()).await;
    assert!(done.is_complete(), "{done:?}");
    assert_eq!(done.lines, 3);
    let service = running.stop().await;
    let expected = [
        format!("POST /log/stream{QUERY}"),
        format!("PUT /log/stream{QUERY}"),
        format!("POST /log/blob/link/upload{QUERY}"),
        "PUT /signed?s=1".to_owned(),
        format!("DELETE /log/stream{QUERY}"),
    ];
    assert_eq!(service.answered(), expected);
    for call in &service.calls {
        let to_service = !call.what.contains("/signed");
        assert_eq!(call.token.as_deref(), to_service.then_some("t0ken"));
    }
    assert_eq!(service.live(), ["one\n", "two\n", "tail\n"]);
    assert_eq!(service.blob("PUT /signed"), ["one\n", "two\n", "tail\n"]);
}

#[tokio::test]
async fn c67_an_indirect_blob_goes_to_the_service_itself() {
    let running = Running::start().await;
    let log = Log::of(b"one\n");
    let done = Uploader::to_service(running.client(true), settings())
        .run(log.reader(), CancellationToken::new())
        .await;
    assert!(done.is_complete(), "{done:?}");
    let service = running.stop().await;
    assert_eq!(service.blob("POST /log/blob?"), ["one\n"]);
    assert!(service.calls.iter().all(|call| call.token.is_some()));
}

#[tokio::test]
async fn c68_a_stream_that_another_opens_is_closed_with_a_snapshot_and_has_no_blob() {
    let running = Running::start().await;
    let settings = Settings {
        skip_opening: true,
        ..settings()
    };
    assert!(uploaded(&running, b"one\n", settings).await.is_complete());
    let service = running.stop().await;
    let expected = [
        format!("PUT /log/stream{QUERY}"),
        format!("DELETE /log/stream{QUERY}&snapshot=true"),
    ];
    assert_eq!(service.answered(), expected);
}

#[tokio::test]
async fn c69_a_stream_that_another_closes_gets_its_last_lines_and_no_more() {
    let running = Running::start().await;
    let settings = Settings {
        skip_closing: true,
        ..settings()
    };
    assert!(
        uploaded(&running, b"one\ntail", settings)
            .await
            .is_complete()
    );
    let service = running.stop().await;
    let expected = [
        format!("POST /log/stream{QUERY}"),
        format!("PUT /log/stream{QUERY}"),
    ];
    assert_eq!(service.answered(), expected);
    assert_eq!(service.live(), ["one\n", "tail\n"]);
}

#[tokio::test]
async fn c70_six_mebibytes_are_live_as_a_whole_and_the_newest_in_the_blob() {
    let running = Running::start().await;
    let text: Vec<_> = (0..60_000).map(|n| format!("{n:0100}\n")).collect();
    let done = uploaded(&running, text.concat().as_bytes(), settings()).await;
    assert!(done.is_complete(), "{done:?}");
    let service = running.stop().await;
    assert!(service.live() == text, "all lines, each once, in order");
    assert!(service.bodies("PUT /signed")[0].len() <= 5 * 1024 * 1024);
    let blob = service.blob("PUT /signed");
    assert!(blob.len() > 20_000, "{}", blob.len());
    assert!(blob[0].contains("earlier log lines are not kept"));
    assert!(blob[1..] == text[text.len() - blob.len() + 1..]);
}

#[tokio::test]
async fn what_another_try_mends_loses_nothing() {
    let faults = [
        Fault::Status(503),
        Fault::Ends,
        Fault::Status(429),
        Fault::Silence,
        Fault::Status(408),
    ];
    let running = Running::start()
        .await
        .fails("POST /log/stream", faults)
        .fails("PUT /log/stream", faults)
        .fails("POST /log/blob", faults)
        .fails("PUT /signed", faults)
        .fails("DELETE", faults);
    let done = uploaded(&running, b"one\ntwo\n", settings()).await;
    assert!(done.is_complete(), "{done:?}");
    let service = running.stop().await;
    assert_eq!(service.calls.len(), 30);
    assert_eq!(service.live(), ["one\n", "two\n"]);
    assert_eq!(service.blob("PUT /signed"), ["one\n", "two\n"]);
    // A try is sent whole, not what an earlier one left of its body.
    for what in ["PUT /log/stream", "PUT /signed"] {
        let tries = service
            .calls
            .iter()
            .filter(|call| call.what.starts_with(what));
        let bodies: Vec<_> = tries.map(|call| &call.body).collect();
        assert_eq!(bodies.len(), 6);
        assert!(bodies.iter().all(|body| *body == bodies[0]));
    }
}

#[tokio::test]
async fn a_refusal_is_a_failure_and_is_not_repeated() {
    let running = Running::start()
        .await
        .fails("PUT /signed", [Fault::Status(403)]);
    let done = uploaded(&running, b"one\n", settings()).await;
    assert!(
        matches!(done.blob, Some(ClientError::Refused { status, .. }) if status == 403),
        "{done:?}"
    );
    assert!(done.live.is_none() && done.close.is_none());
    let service = running.stop().await;
    assert_eq!(
        service.answered().last().map(|call| &call[..6]),
        Some("DELETE"),
        "the stream is closed all the same"
    );
}

#[tokio::test]
async fn a_stream_that_can_not_be_opened_leaves_the_blob_whole() {
    let running = Running::start()
        .await
        .fails("POST /log/stream", [Fault::Status(401)]);
    let text: Vec<_> = (0..5_000).map(|n| format!("{n}\n")).collect();
    let done = uploaded(&running, text.concat().as_bytes(), settings()).await;
    assert!(matches!(done.live, Some(ClientError::Refused { .. })));
    let service = running.stop().await;
    assert_eq!(service.live(), [""; 0]);
    assert!(service.blob("PUT /signed") == text);
}

#[tokio::test]
async fn a_dead_service_ends_with_its_reason_for_each_part() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let running = Running::start().await;
    running.service.lock().address = listener.local_addr().expect("its address").to_string();
    drop(listener);
    let done = uploaded(&running, b"one\n", settings()).await;
    for part in [&done.live, &done.blob, &done.close] {
        assert!(
            matches!(part, Some(ClientError::NoAnswer { .. })),
            "{done:?}"
        );
    }
    let said = format!("{done:?}");
    assert!(!said.contains("t0ken"), "{said}");
}

#[tokio::test]
async fn lines_come_live_while_the_step_runs() {
    let running = Running::start().await;
    let mut log = Log::new();
    let uploader = Uploader::to_service(running.client(false), settings());
    let mut sent = uploader.sent();
    let tracker = TaskTracker::new();
    let reader = log.reader();
    let task = tracker.spawn(uploader.run(reader, CancellationToken::new()));
    log.append(b"one\ntw");
    sent.wait_for(|sent| *sent == 1).await.expect("it goes on");
    log.append(b"o\n");
    sent.wait_for(|sent| *sent == 2).await.expect("it goes on");
    log.end();
    let done = task.await.expect("it ended");
    assert!(done.is_complete(), "{done:?}");
    assert_eq!(running.stop().await.live(), ["one\n", "two\n"]);
}

#[tokio::test]
async fn p4_one_that_goes_on_after_a_restart_sends_no_line_twice() {
    let running = Running::start().await;
    let mut log = Log::new();
    let cancel = CancellationToken::new();
    let uploader = Uploader::to_service(running.client(false), settings());
    let mut sent = uploader.sent();
    let tracker = TaskTracker::new();
    let task = tracker.spawn(uploader.run(log.reader(), cancel.clone()));
    log.append(b"one\ntwo\n");
    sent.wait_for(|sent| *sent == 2).await.expect("it goes on");
    cancel.cancel();
    assert!(task.await.expect("it ended").cancelled);
    log.append(b"three\n");
    log.end();
    let again = Settings {
        sent_before: 2,
        ..settings()
    };
    let done = Uploader::to_service(running.client(false), again)
        .run(log.reader(), CancellationToken::new())
        .await;
    assert!(done.is_complete(), "{done:?}");
    let service = running.stop().await;
    assert_eq!(service.live(), ["one\n", "two\n", "three\n"]);
    assert_eq!(
        service.blob("PUT /signed"),
        ["one\n", "two\n", "three\n"],
        "the blob is made from the log's beginning"
    );
    let opened = service.bodies("POST /log/stream");
    assert_eq!(opened.len(), 1, "the stream was left open");
}
