//! A caller that may speak TLS, show a certificate and a token.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

#[derive(Clone, Default)]
pub(crate) struct Caller {
    port: u16,
    tls: Option<TlsConnector>,
    token: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

/// One connection.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Caller {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            ..Self::default()
        }
    }

    /// Over TLS, to who has a certificate of that CA.
    pub(crate) fn believing(self, ca: &Path) -> Self {
        self.with_tls(ca, None)
    }

    /// The same, with a certificate to show.
    pub(crate) fn showing(self, ca: &Path, own: &Path) -> Self {
        self.with_tls(ca, Some(own))
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    fn with_tls(mut self, ca: &Path, own: Option<&Path>) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(ca).expect("the CA's certificate");
        roots.add(ca).expect("a CA");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(own).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_file(own).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        self.tls = Some(TlsConnector::from(Arc::new(config)));
        self
    }

    /// # Errors
    /// The connection is not made, or not kept.
    pub(crate) async fn connect(&self) -> Result<Line, String> {
        let told = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let stream = stream.map_err(told)?;
        match &self.tls {
            None => self.speak(stream).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = tls.connect(name, stream).await.map_err(told)?;
                self.speak(stream).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<Line, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        Ok(Line {
            sender,
            token: self.token.clone(),
            _connection: connections,
        })
    }

    /// # Errors
    /// Nobody answers.
    pub(crate) async fn get(&self, path: &str) -> Result<Heard, String> {
        self.connect().await?.ask("GET", path, Bytes::new()).await
    }

    /// # Errors
    /// Nobody answers.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Heard, String> {
        let body = Bytes::from(body.to_string());
        self.connect().await?.ask("POST", path, body).await
    }
}

impl Line {
    /// # Errors
    /// Nobody answers any more.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Heard, String> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "vmpool");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).expect("a request");
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(Heard {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    }
}
