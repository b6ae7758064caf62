//! Asks an agent, with any certificates, and looks at everything it answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::LONG;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// It has this status and this error.
    #[track_caller]
    pub(crate) fn is_refusal(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.json()["error_msg"], error);
    }
}

/// Asks one agent, over a connection for each question.
#[derive(Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// A connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Caller {
    /// With the CA of one folder and the certificate of another.
    pub(crate) fn new(address: SocketAddr, ca: &Path, certificate: &Path) -> Self {
        let chain = CertificateDer::from_pem_file(certificate.join("server-cert.pem"));
        let key = PrivateKeyDer::from_pem_file(certificate.join("server-key.pem"));
        let config = config(ca)
            .with_client_auth_cert(vec![chain.expect("a certificate")], key.expect("a key"));
        Self::with(address, config.expect("a client"))
    }

    /// Without any certificate.
    pub(crate) fn anonymous(address: SocketAddr, ca: &Path) -> Self {
        Self::with(address, config(ca).with_no_client_auth())
    }

    fn with(address: SocketAddr, tls: ClientConfig) -> Self {
        Self {
            address,
            tls: Arc::new(tls),
        }
    }

    /// A TLS connection on which these protocols are offered.
    pub(crate) async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("drone").expect("a name");
        TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
    }

    pub(crate) async fn open(&self) -> Connection {
        let stream = self.connect(&["http/1.1"]).await.expect("a connection");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let driver = tokio_util::task::TaskTracker::new().spawn(async move {
            let _ = connection.await;
        });
        Connection {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let asked = async { self.open().await.ask(method, path, body).await };
        let answer = tokio::time::timeout(LONG, asked).await;
        answer.unwrap_or_else(|_| panic!("{method} {path} is never answered"))
    }

    /// What is answered with 200.
    #[track_caller]
    pub(crate) fn done(&self, path: &str, body: &Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.post(path, body).await;
            assert_eq!(answer.status, 200, "{path} at {caller}: {}", answer.text());
            answer.json()
        }
    }

    /// Sets up, runs this step to its end, and returns its answer.
    pub(crate) async fn run(&self, step: &Value) -> Value {
        self.done("/setup", &super::setup0()).await;
        self.run_next(step).await
    }

    /// The same in the stage that is there.
    pub(crate) async fn run_next(&self, step: &Value) -> Value {
        self.done("/start_step", step).await;
        let id = serde_json::json!({"id": step["id"]});
        self.done("/poll_step", &id).await
    }

    /// All that a streamed step prints.
    pub(crate) async fn output(&self, id: &str) -> String {
        let question = serde_json::json!({"id": id, "offset": 0});
        let answer = self.post("/stream_output", &question).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Runs this step, and returns what it printed.
    pub(crate) async fn output_of(&self, step: &Value) -> String {
        let answer = self.run(step).await;
        assert_eq!(answer["exited"], true, "{answer}");
        self.output(step["id"].as_str().expect("an id")).await
    }
}

impl Connection {
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> http::Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "drone")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        self.sender.send_request(request).await.expect("an answer")
    }

    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let (head, body) = self.send(method, path, body).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

fn config(ca: &Path) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca.join("ca-cert.pem")).expect("a certificate");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_root_certificates(roots)
}
