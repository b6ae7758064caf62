//! The sockets that requests come by, and the connections that came.
//!
//! A socket outlives the loop that accepts from it: the loop ends when a
//! runner gives its place up, and begins anew here or in another process. What
//! came meanwhile waits in the kernel.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer as _, ServiceExt as _};

use super::access::GateLayer;
use super::args::ServeArgs;
use super::peer::Doorman;

/// After a failure to accept that will not go away at once (no descriptors).
const PAUSE: Duration = Duration::from_millis(100);

/// A connection on which nobody asks anything, or not to the end of the headers,
/// is closed after this.
const QUIET: Duration = Duration::from_secs(90);

/// Another process of the deployment is asked so often whether it is there, and
/// may take so long to say so.
const PING: Duration = Duration::from_secs(30);

const HTTP: &str = "http";
const GRPC: &str = "grpc";
const METRICS: &str = "metrics";
const PEERS: &str = "peers";
const AGENTS: &str = "agents";

/// A socket that listens, and that another process can inherit.
#[derive(Debug)]
pub(super) struct Door {
    listener: StdListener,
    address: SocketAddr,
}

impl Door {
    /// # Errors
    /// The address can't be had.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::of(StdListener::bind(address)?)
    }

    /// One that listens already.
    ///
    /// # Errors
    /// It is no such socket.
    pub(super) fn of(listener: StdListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same socket, to accept from. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn open(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener.try_clone()?)
    }
}

/// The sockets of a runner.
#[derive(Debug)]
pub(super) struct Doors {
    /// Builds.
    pub(super) http: Door,
    /// Tools.
    pub(super) grpc: Door,
    /// Metrics, where they have a socket of their own.
    pub(super) metrics: Option<Door>,
    /// The other runners of the deployment.
    pub(super) peers: Option<Door>,
    /// New machines, which download their agent.
    pub(super) agents: Option<Door>,
}

impl Doors {
    /// The sockets that the options name, some of them perhaps inherited.
    ///
    /// # Errors
    /// An address can't be had.
    pub(super) fn open(
        args: &ServeArgs,
        mut inherited: HashMap<String, StdListener>,
    ) -> anyhow::Result<Self> {
        let mut door = |name: &str, address: SocketAddr| match inherited.remove(name) {
            Some(listener) => Door::of(listener).context("take over a socket"),
            None => Door::bind(address).with_context(|| format!("listen on {address}")),
        };
        Ok(Self {
            http: door(HTTP, args.listen)?,
            grpc: door(GRPC, args.grpc_listen)?,
            metrics: args
                .metrics_listen
                .map(|at| door(METRICS, at))
                .transpose()?,
            peers: args.peer_listen.map(|at| door(PEERS, at)).transpose()?,
            agents: args.agents_listen.map(|at| door(AGENTS, at)).transpose()?,
        })
    }

    /// The sockets as another process inherits them.
    pub(super) fn named(&self) -> Vec<(&'static str, &StdListener)> {
        let always = [(HTTP, Some(&self.http)), (GRPC, Some(&self.grpc))];
        let perhaps = [
            (METRICS, self.metrics.as_ref()),
            (PEERS, self.peers.as_ref()),
            (AGENTS, self.agents.as_ref()),
        ];
        let doors = always.into_iter().chain(perhaps);
        doors
            .filter_map(|(name, door)| Some((name, &door?.listener)))
            .collect()
    }
}

/// What is spoken on a connection. Never guessed: a guess has no deadline.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    /// By callers.
    Http1,
    /// By processes of the deployment: gRPC.
    Http2,
}

impl Protocol {
    fn builder(self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        let timer = TokioTimer::new;
        builder.http1().timer(timer()).header_read_timeout(QUIET);
        builder
            .http2()
            .timer(timer())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        match self {
            Self::Http1 => builder.http1_only(),
            Self::Http2 => builder.http2_only(),
        }
    }
}

/// Everything that is connected, whatever loop accepted it.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    tracker: TaskTracker,
    graceful: Arc<Mutex<Option<GracefulShutdown>>>,
    broken: CancellationToken,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            graceful: Arc::new(Mutex::new(Some(GracefulShutdown::new()))),
            ..Self::default()
        }
    }

    /// Serves HTTP/1 on each connection of `listener` until `stop`.
    pub(super) fn serve_http(
        &self,
        listener: TcpListener,
        routes: axum::Router,
        stop: CancellationToken,
    ) {
        let connections = self.clone();
        self.tracker.spawn(async move {
            while let Some(stream) = accepted(&listener, &stop).await {
                connections.keep(stream, Protocol::Http1, routes.clone());
            }
        });
    }

    /// Serves `routes` to runners of the deployment until `stop`.
    pub(super) fn serve_peers(
        &self,
        listener: TcpListener,
        doorman: Doorman,
        routes: axum::Router,
        stop: CancellationToken,
    ) {
        let connections = self.clone();
        self.tracker.spawn(async move {
            while let Some(stream) = accepted(&listener, &stop).await {
                let (doorman, routes) = (doorman.clone(), routes.clone());
                let at = connections.clone();
                connections.tracker.spawn(async move {
                    match doorman.admit(stream).await {
                        Ok(stream) => at.keep(stream, Protocol::Http2, routes),
                        Err(error) => tracing::warn!(%error, "no runner of this deployment"),
                    }
                });
            }
        });
    }

    /// Serves one connection until its end.
    pub(super) fn keep<S>(&self, stream: S, protocol: Protocol, routes: axum::Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = self.broken.clone();
        let routes = routes.map_request(|request: http::Request<_>| request);
        let service = TowerToHyperService::new(GateLayer.layer(routes));
        let Some(watcher) = self.graceful.lock().as_ref().map(GracefulShutdown::watcher) else {
            return;
        };
        self.tracker.spawn(async move {
            let builder = protocol.builder();
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let served = watcher.watch(connection.into_owned());
            tokio::select! {
                served = served => if let Err(error) = served {
                    tracing::debug!(error, "a connection broke");
                },
                () = broken.cancelled() => {}
            }
        });
    }

    /// Lets each connection end its request, closes those that are idle, and
    /// waits no longer than `patience`; then what is left is broken off.
    ///
    /// # Cancel safety
    /// A dropped call leaves connections closing.
    pub(super) async fn close(&self, patience: Duration) {
        let graceful = self.graceful.lock().take();
        self.tracker.close();
        if let Some(graceful) = graceful {
            let _ = tokio::time::timeout(patience, graceful.shutdown()).await;
        }
        self.broken.cancel();
        self.tracker.wait().await;
    }

    /// Waits until nobody is connected any more and no loop accepts.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }
}

/// The next connection; none when `stop` was cancelled.
pub(super) async fn accepted(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers must not wait for anything.
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}
