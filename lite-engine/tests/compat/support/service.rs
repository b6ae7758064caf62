//! A service that notes down what it is asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Question {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A service that answers by this function. It ends when this is dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    questions: Arc<Mutex<Vec<Question>>>,
    _serving: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(
        answer: impl Fn(&str, &Question) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let (noted, base, answer) = (questions.clone(), url.clone(), Arc::new(answer));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (noted, base, answer) = (noted.clone(), base.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (noted, base, answer) = (noted.clone(), base.clone(), answer.clone());
                    async move {
                        let question = note(request).await;
                        let (status, body) = answer(&base, &question);
                        noted.lock().expect("noted").push(question);
                        let mut response = Response::new(Full::<Bytes>::from(body));
                        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                        Ok::<_, Infallible>(response)
                    }
                });
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
                });
            }
        });
        Self {
            url,
            questions,
            _serving: serving,
        }
    }

    /// What it was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("noted").clone()
    }

    /// The lines of what it was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.questions()
            .into_iter()
            .map(|question| question.line)
            .collect()
    }

    /// Bodies of the questions whose lines begin so.
    pub(crate) fn bodies(&self, line: &str) -> Vec<String> {
        let questions = self.questions().into_iter();
        let asked = questions.filter(|question| question.line.starts_with(line));
        asked.map(|question| question.text()).collect()
    }
}

async fn note(request: Request<Incoming>) -> Question {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Question {
        line: format!("{} {}", head.method, head.uri),
        headers: head.headers,
        body,
    }
}
