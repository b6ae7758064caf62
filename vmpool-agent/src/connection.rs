//! HTTP/2 over one TLS connection, as gRPC clients use it.
//!
//! A connection that is over stays over: nothing here dials again. Windows are
//! small, because a runner holds thousands of these.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::MapFrame;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use crate::config::LinkConfig;

/// Largest request to an agent, in bytes: a stage's files are in it.
pub(crate) const MAX_REQUEST: usize = 32 * 1024 * 1024;

/// Largest answer that is taken from an agent, in bytes.
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What one call may have in flight before it is read, and what all calls of a
/// connection may have together, in bytes. Only what is in flight takes memory.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes of a call's request that wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// Largest header block of an answer, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// A header that the gRPC library panics on if it is not base64.
const DETAILS: &str = "grpc-status-details-bin";

/// Where the tasks of one connection run, and how they are ended.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Tasks that end when `stop` is cancelled.
    pub(crate) fn new(tracker: &TaskTracker, stop: CancellationToken) -> Self {
        Self {
            tracker: tracker.clone(),
            stop,
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        // Boxed, because each layer around a future holds room for it twice.
        self.tracker
            .spawn(self.stop.clone().run_until_cancelled_owned(Box::pin(task)));
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Why HTTP/2 did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2Error {
    #[error("HTTP/2 handshake")]
    Handshake(#[from] hyper::Error),
    #[error("HTTP/2 handshake: not over in time")]
    Slow(#[from] tokio::time::error::Elapsed),
}

/// Speaks HTTP/2 over `io`. The connection lives while the second part of the
/// answer is polled; that ends when the connection does, and says why.
pub(crate) async fn start<I>(
    io: I,
    tasks: &Tasks,
    limits: &LinkConfig,
) -> Result<
    (
        Http2,
        impl Future<Output = hyper::Result<()>> + Send + use<I>,
    ),
    Http2Error,
>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(tasks.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS);
    let handshake = builder.handshake(TokioIo::new(io));
    let (sender, connection) = timeout(limits.handshake_timeout, handshake).await??;
    Ok((Http2(sender), connection))
}

/// Sends calls over the connection. Copies share it.
#[derive(Debug, Clone)]
pub(crate) struct Http2(http2::SendRequest<Body>);

impl Http2 {
    /// The connection takes no further call.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

type Strip = fn(Frame<Bytes>) -> Frame<Bytes>;

impl Service<Request<Body>> for Http2 {
    type Response = Response<MapFrame<Incoming, Strip>>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            strip_headers(answer.headers_mut());
            Ok(answer.map(|body| body.map_frame(strip as Strip)))
        })
    }
}

/// A machine may be in a build step's hands: what it answers may be anything.
fn strip(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        strip_headers(trailers);
    }
    frame
}

fn strip_headers(headers: &mut HeaderMap) {
    headers.remove(DETAILS);
}
