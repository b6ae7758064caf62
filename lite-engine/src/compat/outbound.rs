//! Small calls that the agent makes itself: one connection, one request, one
//! bounded answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::agent::chain;

/// For the whole of a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most of an answer.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

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
pub(super) async fn call(question: Request<Full<Bytes>>) -> Result<Response<Bytes>, CallError> {
    let uri = question.uri().clone();
    let called = timeout(PATIENCE, request(question)).await;
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

async fn request(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| format!("find the certificates that this machine trusts: {error}"))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let answer = client.request(request).await;
    whole(answer.map_err(|error| chain(&error))?).await
}

async fn whole(answer: Response<Incoming>) -> Result<Response<Bytes>, String> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// Sends one request on a connection of its own.
pub(crate) async fn send<S>(
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
        whole(answer.map_err(|error| error.to_string())?).await
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
