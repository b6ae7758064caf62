//! Accepts connections and brings them through their handshakes, within limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Limits, Tasks};

/// How long accepting rests after the system refused a connection (out of
/// descriptors, for one): it would refuse the next one just as fast.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port that is served until its `stop`. Dropping it drops every connection at once.
pub(crate) struct Port {
    acceptor: TlsAcceptor,
    limits: Arc<Limits>,
    tasks: Tasks,
    connections: Arc<Semaphore>,
    _kill_on_drop: DropGuard,
}

impl Port {
    pub(crate) fn new(acceptor: TlsAcceptor, limits: Limits, stop: CancellationToken) -> Self {
        let kill = CancellationToken::new();
        Self {
            acceptor,
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits: Arc::new(limits),
            _kill_on_drop: kill.clone().drop_guard(),
            tasks: Tasks {
                tracker: TaskTracker::new(),
                stop,
                kill,
            },
        }
    }

    /// Hands every connection over, in a task of its own, until the stop; the
    /// connections then have their grace to end.
    pub(crate) async fn serve<F, T>(self, listener: TcpListener, connected: F)
    where
        F: Fn(TlsStream<TcpStream>, Tasks, Arc<Limits>) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let handshakes = Arc::new(Semaphore::new(self.limits.handshakes));
        loop {
            let next = async {
                let permit = Arc::clone(&handshakes)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed");
                (permit, listener.accept().await)
            };
            let Some((permit, accepted)) = self.tasks.stop.run_until_cancelled(next).await else {
                break;
            };
            match accepted {
                Ok((tcp, peer)) => self.welcome(tcp, peer, permit, connected.clone()),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.tasks.tracker.close();
        let ended = timeout(self.limits.grace, self.tasks.tracker.wait()).await;
        if ended.is_err() {
            self.tasks.kill.cancel();
            self.tasks.tracker.wait().await;
        }
    }

    fn welcome<F, T>(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        connected: F,
    ) where
        F: Fn(TlsStream<TcpStream>, Tasks, Arc<Limits>) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let acceptor = self.acceptor.clone();
        let tasks = self.tasks.clone();
        let connections = Arc::clone(&self.connections);
        let limits = Arc::clone(&self.limits);
        self.tasks.spawn(async move {
            let handshake = timeout(limits.handshake, handshake(tcp, acceptor));
            let stream = match handshake.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "refused a connection"),
                Err(_) => return tracing::debug!(%peer, "dropped a connection that said nothing"),
            };
            drop(permit);
            let Ok(_connection) = connections.try_acquire_owned() else {
                tracing::warn!(%peer, "closed a connection: there are too many");
                return close(stream, limits.handshake).await;
            };
            connected(stream, tasks, limits).await;
        });
    }
}

/// Up to the peer's first bytes: HTTP/2 keeps its own time only after them.
async fn handshake(tcp: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    stream.fill_buf().await?;
    Ok(stream)
}

/// Tells the peer that this is the end, if it listens.
pub(crate) async fn close(mut stream: TlsStream<TcpStream>, limit: Duration) {
    let _ = timeout(limit, stream.shutdown()).await;
}
