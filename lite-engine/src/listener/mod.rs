//! The agent's one port: TLS 1.3, runners only, and ALPN says what is spoken.
//!
//! | ALPN             | served                                             |
//! |------------------|----------------------------------------------------|
//! | `vmpool-enrol/1` | the enrolment service                              |
//! | `h2`             | the agent service, once the agent has its certificate |
//! | `http/1.1`       | the same, in the older version of HTTP             |
//! | anything else    | nothing                                            |
//!
//! Invariants:
//! - no request is read from a peer that has not shown a runner's certificate;
//! - a connection that is not through its handshake and first bytes in time is
//!   dropped, and so is one that stops answering pings;
//! - every task is tracked and ends with [`serve`], however that ends.

mod port;
mod runners;
mod tasks;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;
use vmpool_core::agent::enrolment::{ENROL_ALPN, SERVE_ALPN};
use vmpool_proto::agent::v1::agent_server::{Agent, AgentServer};

pub(crate) use self::port::{Port, close};
use self::runners::Runners;
pub(crate) use self::tasks::Tasks;
use crate::compat::trust::HTTP_1_1;
use crate::enrol::{self, Enrolment, SharedStream};
use crate::identity::Standing;

/// Largest request that a runner may send, in bytes: a stage's files are in it.
pub const MAX_REQUEST: usize = 32 * 1024 * 1024;

/// Largest answer that the agent gives, in bytes.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

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
    let port = Port::new(acceptor, limits, stop);
    let connected = move |stream: TlsStream<TcpStream>, tasks: Tasks, limits: Arc<Limits>| {
        let enrolment = Arc::clone(&enrolment);
        let agent = agent.clone();
        async move {
            match stream.get_ref().1.alpn_protocol() {
                Some(ENROL_ALPN) => {
                    let stream = SharedStream::new(stream);
                    let service = enrol::service(enrolment, stream.clone());
                    let serving = tasks.http2(&limits, stream, service);
                    if timeout(limits.enrolment, serving).await.is_err() {
                        tracing::debug!("dropped an enrolment that took too long");
                    }
                }
                Some(SERVE_ALPN) if enrolment.identity().standing() >= Standing::Certified => {
                    // Its handshake ended well: the runner has seen the certificate.
                    enrolment.close().await;
                    tasks.http2(&limits, stream, agent).await;
                }
                Some(HTTP_1_1) if enrolment.identity().standing() >= Standing::Certified => {
                    enrolment.close().await;
                    tasks.http1(stream, agent).await;
                }
                _ => {
                    tracing::debug!("closed a connection with nothing to speak");
                    close(stream, limits.handshake).await;
                }
            }
        }
    };
    port.serve(listener, connected).await;
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
    config.alpn_protocols = vec![ENROL_ALPN.to_vec(), SERVE_ALPN.to_vec(), HTTP_1_1.to_vec()];
    // No resumption: each connection proves both ends anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
