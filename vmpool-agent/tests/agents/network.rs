//! What may lie between runner and agent: nothing, a cable that is pulled, or
//! somebody who listens.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tower::Service;
use vmpool_proto::agent::v1::enrolment_client::EnrolmentClient;

use crate::certificates::{Pair, client, provider};

pub(crate) async fn dial(
    address: SocketAddr,
    pair: Option<&Pair>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("anybody").expect("a name");
    TlsConnector::from(Arc::new(client(pair, alpn)))
        .connect(name, tcp)
        .await
}

/// How the other end took a peer: a refusal of TLS 1.3 shows on the first read.
pub(crate) async fn first_read(stream: std::io::Result<TlsStream<TcpStream>>) -> String {
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // A whole HTTP/2 preface with empty settings: whoever serves answers.
    let _ = stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let mut byte = [0];
    match stream.read(&mut byte).await {
        Ok(0) => "closed".to_owned(),
        Ok(_) => "served".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// HTTP/2 over a TLS stream, as a gRPC client uses it.
#[derive(Clone)]
pub(crate) struct Raw(SendRequest<Body>);

impl Service<Request<Body>> for Raw {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What a gRPC client calls the other end.
pub(crate) fn origin() -> Uri {
    Uri::from_static("https://agent/")
}

/// A connection that shows `pair` and speaks `alpn`.
pub(crate) async fn raw(
    address: SocketAddr,
    pair: &Pair,
    alpn: &[u8],
    tasks: &mut JoinSet<()>,
) -> Raw {
    let stream = dial(address, Some(pair), &[alpn])
        .await
        .expect("a connection");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tasks.spawn(async move {
        let _ = connection.await;
    });
    Raw(sender)
}

/// An enrolment client that shows `pair`.
pub(crate) async fn enrolment(
    address: SocketAddr,
    pair: &Pair,
    tasks: &mut JoinSet<()>,
) -> EnrolmentClient<Raw> {
    let raw = raw(address, pair, b"vmpool-enrol/1", tasks).await;
    EnrolmentClient::with_origin(raw, origin())
}

/// A network that can fall silent: neither end is told.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    plugged: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Cable {
    pub(crate) async fn to(agent: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("an address");
        let (plugged, seen) = watch::channel(true);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (runner, _) = listener.accept().await.expect("a connection");
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(agent) = TcpStream::connect(agent).await else {
                    continue;
                };
                let (from_runner, to_runner) = runner.into_split();
                let (from_agent, to_agent) = agent.into_split();
                pipes.spawn(carry(from_runner, to_agent, seen.clone()));
                pipes.spawn(carry(from_agent, to_runner, seen.clone()));
            }
        });
        Self {
            address,
            connections,
            plugged,
            _tasks: tasks,
        }
    }

    pub(crate) fn pull(&self) {
        self.plugged.send_replace(false);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut plugged: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if plugged.wait_for(|plugged| *plugged).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// A TLS server with a key and a certificate of its own making.
pub(crate) struct Impostor {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    /// Its key (SubjectPublicKeyInfo, DER).
    pub(crate) key: Vec<u8>,
}

impl Impostor {
    pub(crate) async fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key);
        let certificate: CertificateDer<'static> = certificate.expect("a certificate").into();
        let public = rcgen::PublicKeyData::subject_public_key_info(&key);
        let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        config.alpn_protocols = vec![b"vmpool-enrol/1".to_vec(), b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("an address");
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            listener,
            address,
            key: public,
        }
    }
}
