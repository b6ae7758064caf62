//! The tasks of all connections: how each is served to its end, and how they
//! are told to end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service;

use super::Limits;

/// What a stream may have in flight before it is read, and what all streams
/// of a connection may have together, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Most calls of one connection at a time: each step that runs may be waited for.
const STREAMS_MAX: u32 = 2048;

/// For the head of a request over HTTP/1.1, once the one before was answered.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);

/// The tasks of all connections, and how they are told to end.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(super) tracker: TaskTracker,
    /// Take no new calls.
    pub(super) stop: CancellationToken,
    /// Drop everything.
    pub(super) kill: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        // Boxed, because each layer around a future holds room for it twice.
        self.tracker
            .spawn(self.kill.clone().run_until_cancelled_owned(Box::pin(task)));
    }

    /// Serves one connection to its end.
    pub(crate) async fn http2<I, S, B>(&self, limits: &Limits, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
        S: Send + 'static,
        S::Future: Send,
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
        B::Data: Send,
    {
        let connection = http2::Builder::new(self.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
        self.to_its_end(connection).await;
    }

    /// Serves one connection to its end, in the older version of the protocol.
    pub(crate) async fn http1<I, S, B>(&self, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
        S: 'static,
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
        self.to_its_end(connection).await;
    }

    /// At the stop it takes no new requests, and ends with those that it has.
    async fn to_its_end(&self, connection: impl GracefulConnection<Error = hyper::Error>) {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
