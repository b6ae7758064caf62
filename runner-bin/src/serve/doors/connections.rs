//! Everything that is connected to a runner, from handshake to close.
//!
//! What is spoken is never guessed: a guess has no deadline. Callers speak
//! HTTP/1.1, processes of the deployment HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer as _, Service, ServiceExt as _};

use super::accepted;
use super::places::{Place, Places};
use super::watched::{Coming, watched};
use crate::serve::access::{Access, DoorKind, Entered, GateLayer, Peer, over_http, peer_name};
use crate::serve::peer::Doorman;

/// A connection on which nobody asks anything, or not to the end of the headers,
/// is closed after this.
const QUIET: Duration = Duration::from_secs(90);

/// Another process of the deployment is asked so often whether it is there, and
/// may take so long to say so.
const PING: Duration = Duration::from_secs(30);

/// Everything that is connected, whatever loop accepted it.
#[derive(Debug, Clone, Default)]
pub(in crate::serve) struct Connections {
    tracker: TaskTracker,
    graceful: Arc<Mutex<Option<GracefulShutdown>>>,
    broken: CancellationToken,
}

/// What callers find behind a door.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Behind {
    pub(in crate::serve) routes: axum::Router,
    /// Who may ask. None: everybody, in the clear.
    pub(in crate::serve) access: Option<Access>,
    /// Connections at a time.
    pub(in crate::serve) most: usize,
}

impl Connections {
    pub(in crate::serve) fn new() -> Self {
        Self {
            graceful: Arc::new(Mutex::new(Some(GracefulShutdown::new()))),
            ..Self::default()
        }
    }

    /// Serves HTTP/1 on each connection of `listener` until `stop`.
    pub(in crate::serve) fn serve_http(
        &self,
        listener: TcpListener,
        behind: Behind,
        stop: CancellationToken,
    ) {
        let connections = self.clone();
        let places = Places::new(behind.most);
        self.tracker.spawn(async move {
            while let Some((stream, from)) = accepted(&listener, &stop).await {
                let place = tokio::select! {
                    () = stop.cancelled() => break,
                    place = places.take() => place,
                };
                let (at, behind) = (connections.clone(), behind.clone());
                connections.tracker.spawn(async move {
                    tokio::select! {
                        () = at.caller(stream, from, behind, &place) => {}
                        () = place.seat.given_up() => {}
                        () = at.broken.cancelled() => {}
                    }
                });
            }
        });
    }

    /// Serves `routes` to runners of the deployment until `stop`.
    pub(in crate::serve) fn serve_peers(
        &self,
        listener: TcpListener,
        doorman: Doorman,
        routes: axum::Router,
        stop: CancellationToken,
    ) {
        let connections = self.clone();
        self.tracker.spawn(async move {
            while let Some((stream, _)) = accepted(&listener, &stop).await {
                let (doorman, routes) = (doorman.clone(), routes.clone());
                let at = connections.clone();
                connections.tracker.spawn(async move {
                    match doorman.admit(stream).await {
                        Ok(stream) => at.keep(stream, routes),
                        Err(error) => tracing::warn!(%error, "no runner of this deployment"),
                    }
                });
            }
        });
    }

    /// Serves gRPC on the connection of another process of the deployment until
    /// its end.
    pub(in crate::serve) fn keep<S>(&self, stream: S, routes: axum::Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let at = self.clone();
        let service = routes.map_request(|request: Request<_>| request);
        self.tracker.spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new()).http2_only();
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING);
            let service = TowerToHyperService::new(service);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let Some(watcher) = at.watcher() else {
                return;
            };
            let served = watcher.watch(connection.into_owned());
            tokio::select! {
                served = served => told(served),
                () = at.broken.cancelled() => {}
            }
        });
    }

    /// Serves the connection of a caller until its end.
    async fn caller(&self, stream: TcpStream, from: SocketAddr, behind: Behind, place: &Place) {
        // Who says nothing at all costs little more than the socket.
        let Ok(Ok(())) = timeout(QUIET, stream.readable()).await else {
            return;
        };
        let routes = behind.routes;
        let Some(access) = behind.access else {
            return self.serve(stream, routes, place).await;
        };
        let mut peer = Peer {
            address: Some(from.ip()),
            certificate: None,
        };
        match access.handshake(stream, DoorKind::Builds).await {
            Ok(Entered::Plain(stream)) => {
                let gate = GateLayer::new(access, Some(peer), over_http);
                self.serve(stream, gate.layer(routes), place).await;
            }
            Ok(Entered::Tls(stream)) => {
                peer.certificate = peer_name(&stream);
                let gate = GateLayer::new(access, Some(peer), over_http);
                self.serve(*stream, gate.layer(routes), place).await;
            }
            Err(error) => tracing::debug!(%error, %from, "no handshake"),
        }
    }

    /// The same for one that needs no handshake and no socket.
    #[cfg(test)]
    pub(in crate::serve) fn keep_caller<I>(&self, stream: I, routes: axum::Router, access: Access)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let at = self.clone();
        self.tracker.spawn(async move {
            let place = Places::new(1).take().await;
            let gate = GateLayer::new(access, None, over_http);
            at.serve(stream, gate.layer(routes), &place).await;
        });
    }

    async fn serve<I, S>(&self, stream: I, service: S, place: &Place)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Coming<Incoming>>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let seat = Arc::clone(&place.seat);
        let service = tower::service_fn(move |request: Request<Incoming>| {
            watched(service.clone(), Arc::clone(&seat), request)
        });
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(QUIET);
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        if let Some(watcher) = self.watcher() {
            told(watcher.watch(connection.into_owned()).await);
        }
    }

    /// None: everything is being closed.
    fn watcher(&self) -> Option<Watcher> {
        self.graceful.lock().as_ref().map(GracefulShutdown::watcher)
    }

    /// Lets each connection end its request, closes those that are idle, and
    /// waits no longer than `patience`; then what is left is broken off.
    ///
    /// # Cancel safety
    /// A dropped call leaves connections closing.
    pub(in crate::serve) async fn close(&self, patience: Duration) {
        let graceful = self.graceful.lock().take();
        self.tracker.close();
        if let Some(graceful) = graceful {
            let _ = timeout(patience, graceful.shutdown()).await;
        }
        self.broken.cancel();
        self.tracker.wait().await;
    }

    /// Waits until nobody is connected any more and no loop accepts.
    ///
    /// # Cancel safety
    /// Safe.
    pub(in crate::serve) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }
}

fn told(served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(error, "a connection broke");
    }
}
