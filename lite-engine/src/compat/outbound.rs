//! Small calls that the agent makes itself: one connection, one request, one
//! bounded answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For the whole of a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most of an answer.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A call came to no answer. Shows neither headers nor bodies.
#[derive(Debug, thiserror::Error)]
#[error("call {target}: {reason}")]
pub(super) struct CallError {
    target: String,
    reason: String,
}

/// Makes a call to a service by its URL.
///
/// # Errors
/// The URL can't be called, or nobody answers in time. Any status is an answer.
pub(super) async fn call(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, CallError> {
    let uri = request.uri().clone();
    let called = timeout(PATIENCE, connect_and_send(request, &uri)).await;
    let answer = called.unwrap_or_else(|_| Err("it takes too long".into()));
    answer.map_err(|reason| CallError {
        // Without the query, which may hold a token.
        target: format!(
            "{}://{}{}",
            uri.scheme_str().unwrap_or_default(),
            uri.host().unwrap_or_default(),
            uri.path()
        ),
        reason,
    })
}

async fn connect_and_send(
    mut request: Request<Full<Bytes>>,
    uri: &Uri,
) -> Result<Response<Bytes>, String> {
    let host = uri.host().ok_or("the URL has no host")?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("the URL begins with neither http:// nor https://".into()),
    };
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let value = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, value);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| "the URL has no path")?;
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let tcp = TcpStream::connect((host, port)).await;
    let tcp = tcp.map_err(|error| error.to_string())?;
    if !tls {
        return send(tcp, request).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(trusting_the_system()?));
    let stream = connector.connect(name, tcp).await;
    send(stream.map_err(|error| error.to_string())?, request).await
}

/// Sends one request on a connection of its own.
pub(super) async fn send<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        broken = connection => match broken {
            // It may end before the answer's last bytes are looked at.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn trusting_the_system() -> Result<ClientConfig, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = BUNDLES.iter().map(PathBuf::from);
    let bundle = named.into_iter().chain(known).find(|path| path.is_file());
    let bundle = bundle.ok_or("this machine has no file of trusted certificates")?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&bundle);
    let certificates = certificates.map_err(|error| format!("{}: {error}", bundle.display()))?;
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
