//! The agent's one port: TLS 1.3, runners only, and ALPN says what is spoken.
//!
//! | ALPN             | served                                             |
//! |------------------|----------------------------------------------------|
//! | `vmpool-enrol/1` | the enrolment service                              |
//! | `h2`             | the agent service, once the agent has its certificate |
//! | anything else    | nothing                                            |
//!
//! Invariants:
//! - no request is read from a peer that has not shown a runner's certificate;
//! - a connection that is not through its handshake and first bytes in time is
//!   dropped, and so is one that stops answering pings;
//! - every task is tracked and ends with [`serve`], however that ends.

mod runners;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service;
use vmpool_core::agent::enrolment::{ENROL_ALPN, SERVE_ALPN};
use vmpool_proto::agent::v1::agent_server::{Agent, AgentServer};

use self::runners::Runners;
use crate::enrol::{self, Enrolment, SharedStream};
use crate::identity::Standing;

/// Largest request that a runner may send, in bytes: a stage's files are in it.
pub const MAX_REQUEST: usize = 32 * 1024 * 1024;

/// Largest answer that the agent gives, in bytes.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What a stream may have in flight before it is read, and what all streams
/// of a connection may have together, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How long accepting rests after the system refused a connection (out of
/// descriptors, for one): it would refuse the next one just as fast.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections may take of the agent.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the handshake and the first bytes after it.
    pub handshake: Duration,
    /// Most connections in their handshake at a time; further ones wait in the
    /// system's queue.
    pub handshakes: usize,
    /// Most connections that are through it; further ones are closed.
    pub connections: usize,
    /// For the whole of an enrolment.
    pub enrolment: Duration,
    /// How often a silent runner is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// How long open calls may go on when the agent stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            handshakes: 32,
            connections: 64,
            enrolment: Duration::from_mins(1),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(2),
        }
    }
}

/// Why the agent can't listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// The TLS library refused our settings.
    #[error("set up TLS: {reason}")]
    Tls {
        /// What it said.
        reason: String,
    },
}

/// The agent service as [`serve`] takes it, with the limits on its messages.
pub fn agent_service<T: Agent>(agent: T) -> AgentServer<T> {
    AgentServer::new(agent)
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER)
}

/// Serves `agent`, and enrolment before it, until `stop` is cancelled; open
/// calls then have [`Limits::grace`] to end. `runner_name` is whom the agent
/// obeys ([`vmpool_core::agent::Bootstrap::runner_name`]).
///
/// # Errors
/// Only before the first connection.
///
/// # Cancel safety
/// Dropping the future drops every connection at once.
pub async fn serve<S, B>(
    listener: TcpListener,
    enrolment: Arc<Enrolment>,
    runner_name: &str,
    agent: S,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), ListenerError>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    let acceptor = TlsAcceptor::from(Arc::new(tls(&enrolment, runner_name)?));
    let kill = CancellationToken::new();
    let _kill_on_drop = kill.clone().drop_guard();
    let tasks = Tasks {
        tracker: TaskTracker::new(),
        kill,
        stop,
    };
    let port = Port {
        enrolment,
        agent,
        tasks: tasks.clone(),
        connections: Arc::new(Semaphore::new(limits.connections)),
        limits,
    };
    port.accept(listener, acceptor).await;
    tasks.tracker.close();
    if timeout(port.limits.grace, tasks.tracker.wait())
        .await
        .is_err()
    {
        tasks.kill.cancel();
        tasks.tracker.wait().await;
    }
    Ok(())
}

fn tls(enrolment: &Enrolment, runner_name: &str) -> Result<ServerConfig, ListenerError> {
    let identity = enrolment.identity();
    let mut config = ServerConfig::builder_with_provider(identity.provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ListenerError::Tls {
            reason: error.to_string(),
        })?
        .with_client_cert_verifier(Arc::new(Runners::new(identity, runner_name)?))
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![ENROL_ALPN.to_vec(), SERVE_ALPN.to_vec()];
    // No resumption: each connection proves both ends anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

struct Port<S> {
    enrolment: Arc<Enrolment>,
    agent: S,
    tasks: Tasks,
    connections: Arc<Semaphore>,
    limits: Limits,
}

impl<S, B> Port<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    async fn accept(&self, listener: TcpListener, acceptor: TlsAcceptor) {
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
                return;
            };
            match accepted {
                Ok((tcp, peer)) => self.welcome(tcp, peer, acceptor.clone(), permit),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        acceptor: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        let enrolment = Arc::clone(&self.enrolment);
        let agent = self.agent.clone();
        let tasks = self.tasks.clone();
        let connections = Arc::clone(&self.connections);
        let limits = self.limits.clone();
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
            match stream.get_ref().1.alpn_protocol() {
                Some(ENROL_ALPN) => {
                    let stream = SharedStream::new(stream);
                    let service = enrol::service(enrolment, stream.clone());
                    let serving = tasks.http2(&limits, stream, service);
                    if timeout(limits.enrolment, serving).await.is_err() {
                        tracing::debug!(%peer, "dropped an enrolment that took too long");
                    }
                }
                Some(SERVE_ALPN) if enrolment.identity().standing() >= Standing::Certified => {
                    // Its handshake ended well: the runner has seen the certificate.
                    enrolment.close().await;
                    tasks.http2(&limits, stream, agent).await;
                }
                _ => {
                    tracing::debug!(%peer, "closed a connection with nothing to speak");
                    close(stream, limits.handshake).await;
                }
            }
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
async fn close(mut stream: TlsStream<TcpStream>, limit: Duration) {
    let _ = timeout(limit, stream.shutdown()).await;
}

/// The tasks of all connections, and how they are told to end.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    /// Take no new calls.
    stop: CancellationToken,
    /// Drop everything.
    kill: CancellationToken,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        // Boxed, because each layer around a future holds room for it twice.
        self.tracker
            .spawn(self.kill.clone().run_until_cancelled_owned(Box::pin(task)));
    }

    /// Serves one connection to its end.
    async fn http2<I, S, B>(&self, limits: &Limits, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin,
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
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
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
