//! An agent of the incumbent as its specification has it, defects included:
//! everything in memory, one answer for all who poll a step, an answer's head
//! that comes with the first byte of output. Its steps are what the test says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use vmpool_agent::ThrowAway;
use vmpool_proto::incumbent::{
    DestroyAnswer, Failure, Health, PollRequest, PollStepAnswer, SetupRequest, StartStepRequest,
    StreamRequest, decode, encode,
};

use crate::machine::own_ip;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// It ends when this is dropped.
pub(crate) struct Theirs {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    connections: Mutex<JoinSet<()>>,
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) setups: Vec<SetupRequest>,
    pub(crate) destroys: usize,
    /// Steps that were executed, in that order.
    pub(crate) runs: Vec<String>,
    /// Polls, as they came.
    pub(crate) polls: Vec<String>,
    /// Readers of an output that left before its end.
    pub(crate) deserters: usize,
    /// Requests of this path are taken, and their connection breaks then.
    pub(crate) swallow: Option<&'static str>,
    /// So many bytes of an output are sent, and then it breaks off.
    pub(crate) cut: Option<usize>,
    steps: HashMap<String, TheirStep>,
}

struct TheirStep {
    request: StartStepRequest,
    so_far: watch::Sender<SoFar>,
    /// The poll that is answered.
    poll: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct SoFar {
    log: Vec<u8>,
    answer: Option<PollStepAnswer>,
}

impl Theirs {
    /// On a machine that was born with this.
    pub(crate) async fn start(born_with: &ThrowAway) -> Self {
        let listener = TcpListener::bind((own_ip(), 0)).await.expect("an address");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let acceptor = TlsAcceptor::from(Arc::new(tls(born_with)));
        let mut accepting = JoinSet::new();
        let serving = shared.clone();
        accepting.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serve = serve(serving.clone(), acceptor.clone(), stream);
                serving.connections.lock().expect("no panic").spawn(serve);
            }
        });
        Self {
            address,
            shared,
            _accepting: accepting,
        }
    }

    pub(crate) fn book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        self.shared.book(look)
    }

    pub(crate) fn has(&self, step: &str) -> bool {
        self.book(|book| book.steps.contains_key(step))
    }

    /// What started the step.
    pub(crate) fn request(&self, step: &str) -> StartStepRequest {
        self.book(|book| book.steps[step].request.clone())
    }

    pub(crate) fn print(&self, step: &str, text: &[u8]) {
        self.book(|book| {
            let so_far = &book.steps[step].so_far;
            so_far.send_modify(|so_far| so_far.log.extend_from_slice(text));
        });
    }

    pub(crate) fn exit(&self, step: &str, code: i32) {
        let answer = PollStepAnswer {
            exited: true,
            exit_code: code,
            ..PollStepAnswer::default()
        };
        self.book(|book| {
            let so_far = &book.steps[step].so_far;
            so_far.send_modify(|so_far| so_far.answer = Some(answer));
        });
    }

    /// Breaks every connection.
    pub(crate) fn break_off(&self) {
        self.shared.break_off();
    }

    /// It is killed and started again: it has forgotten everything.
    pub(crate) fn restart(&self) {
        self.book(|book| book.steps.clear());
        self.break_off();
    }
}

impl Shared {
    fn book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock().expect("no panic"))
    }

    fn break_off(&self) {
        self.connections.lock().expect("no panic").abort_all();
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        let answer = self.clone().route(&path, &body).await;
        let swallowed = self.book(|book| book.swallow.take_if(|swallow| *swallow == path));
        if swallowed.is_some() {
            self.break_off();
            std::future::pending::<()>().await;
        }
        answer
    }

    async fn route(self: Arc<Self>, path: &str, body: &[u8]) -> Response<Body> {
        match path {
            "/healthz" => {
                let version = "dev".to_owned();
                whole(StatusCode::OK, encode(&Health { version, ok: true }))
            }
            "/setup" => {
                let setup = decode(body).expect("a setup");
                self.book(|book| book.setups.push(setup));
                done()
            }
            "/start_step" => {
                let request: StartStepRequest = decode(body).expect("a step");
                self.book(|book| book.begin(request));
                done()
            }
            "/poll_step" => {
                let PollRequest { id } = decode(body).expect("a poll");
                self.poll(id).await
            }
            "/stream_output" => self.stream(decode(body).expect("a reader")).await,
            "/destroy" => self.book(|book| {
                book.destroys += 1;
                match book.destroys {
                    1 => whole(StatusCode::OK, encode(&DestroyAnswer::default())),
                    _ => whole(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
                }
            }),
            _ => whole(StatusCode::NOT_FOUND, b"404 page not found\n".to_vec()),
        }
    }

    /// Whoever polls last is answered, and nobody else (W4).
    async fn poll(self: Arc<Self>, id: String) -> Response<Body> {
        let waiting = self.book(|book| {
            book.polls.push(id.clone());
            let step = book.steps.get(&id)?;
            step.poll.send_modify(|poll| *poll += 1);
            let turn = *step.poll.borrow();
            Some((turn, step.poll.subscribe(), step.so_far.subscribe()))
        });
        let Some((turn, poll, mut so_far)) = waiting else {
            return not_started();
        };
        let ended = so_far.wait_for(|so_far| so_far.answer.is_some()).await;
        let answer = ended.ok().and_then(|so_far| so_far.answer.clone());
        match answer.filter(|_| *poll.borrow() == turn) {
            Some(answer) => whole(StatusCode::OK, encode(&answer)),
            None => std::future::pending().await,
        }
    }

    async fn stream(self: Arc<Self>, request: StreamRequest) -> Response<Body> {
        let from = usize::try_from(request.offset).expect("an offset");
        let found = self.book(|book| {
            let step = book.steps.get(&request.id)?;
            Some((step.so_far.subscribe(), book.cut.take()))
        });
        let Some((mut so_far, cut)) = found else {
            return not_started();
        };
        let more = |so_far: &SoFar| so_far.log.len() > from || so_far.answer.is_some();
        let _ = so_far.wait_for(more).await;
        let reader = Reader {
            shared: self.clone(),
            so_far,
            at: from,
            cut,
            ended: false,
        };
        Response::new(BodyExt::boxed_unsync(StreamBody::new(
            reader.pieces().map(|piece| piece.map(Frame::data)),
        )))
    }
}

/// Who reads an output.
struct Reader {
    shared: Arc<Shared>,
    so_far: watch::Receiver<SoFar>,
    at: usize,
    cut: Option<usize>,
    ended: bool,
}

impl Reader {
    /// It has all that it is given.
    fn ends(&mut self) {
        self.ended = true;
    }

    fn pieces(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold(self, |mut reader| async move {
            if reader.cut == Some(0) {
                reader.ends();
                return Some((Err(std::io::Error::other("cut")), reader));
            }
            let at = reader.at;
            let more = |so_far: &SoFar| so_far.log.len() > at || so_far.answer.is_some();
            let piece = match reader.so_far.wait_for(more).await {
                Ok(so_far) => Bytes::copy_from_slice(&so_far.log[at..]),
                Err(_) => Bytes::new(),
            };
            if piece.is_empty() {
                reader.ends();
                return None;
            }
            let len = reader.cut.unwrap_or(usize::MAX).min(piece.len());
            reader.cut = reader.cut.map(|cut| cut - len);
            reader.at += len;
            Some((Ok(piece.slice(..len)), reader))
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.book(|book| book.deserters += 1);
        }
    }
}

impl Book {
    /// What is known is not begun again; what has no program runs nothing.
    fn begin(&mut self, request: StartStepRequest) {
        if self.steps.contains_key(&request.id) {
            return;
        }
        let so_far = watch::Sender::new(SoFar::default());
        if request.run.entrypoint.is_empty() {
            let answer = PollStepAnswer {
                exited: true,
                exit_code: 255,
                error: "step entrypoint cannot be empty".to_owned(),
                ..PollStepAnswer::default()
            };
            so_far.send_modify(|so_far| so_far.answer = Some(answer));
        } else {
            self.runs.push(request.id.clone());
        }
        let poll = watch::Sender::new(0);
        let id = request.id.clone();
        let step = TheirStep {
            request,
            so_far,
            poll,
        };
        self.steps.insert(id, step);
    }
}

async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let answer = shared.clone().answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// As the scheme has it: one certificate for both ends, of the machine's CA.
fn tls(born_with: &ThrowAway) -> ServerConfig {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&born_with.ca_pem)).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let callers = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = born_with.agent_key_pem.expose().as_bytes();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(callers.build().expect("a verifier"))
        .with_single_cert(
            vec![certificate(&born_with.agent_cert_pem)],
            PrivateKeyDer::from_pem_slice(key).expect("a key"),
        )
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn done() -> Response<Body> {
    whole(StatusCode::OK, b"{}\n".to_vec())
}

fn not_started() -> Response<Body> {
    let error_msg = "Step has not started".to_owned();
    whole(StatusCode::BAD_REQUEST, encode(&Failure { error_msg }))
}

fn whole(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
