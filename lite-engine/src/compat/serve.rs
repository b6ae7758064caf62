//! The agent under the incumbent's scheme: its port, its socket for steps, and
//! its end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;

use super::desk::{Desk, DeskConfig, DeskError};
use super::routes::{self, Desks};
use super::settings::ServerSettings;
use super::socket;
use super::stages::DIR;
use super::trust::{self, H2, TrustError};
use crate::agent::chain;
use crate::listener::{Limits, Port, Tasks};

/// Callers of the incumbent open a connection for each step they wait for.
const CONNECTIONS: usize = 1024;

/// Why the agent does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its certificates can't be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its port can't be had.
    #[error("listen on {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))]
    Listen {
        /// All that were tried.
        addresses: Vec<SocketAddr>,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its folders can't be had.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The system refused something else.
    #[error("{attempted}")]
    System {
        /// What was attempted.
        attempted: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Serves until `stop` is cancelled. The steps run on under their holders.
///
/// `state` is the agent's own directory, `program` one that calls
/// [`crate::holder::run_holder_if_asked`] first.
///
/// # Errors
/// Only before the first connection is accepted.
///
/// # Cancel safety
/// Dropping the future drops every connection at once.
pub async fn run(
    settings: ServerSettings,
    state: PathBuf,
    program: PathBuf,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let system = |attempted| move |source| ServeError::System { attempted, source };
    let tls = trust::server(&settings)?;
    // Before anything of another agent of this machine could be disturbed.
    let listener = StdListener::bind(&settings.bind[..]).map_err(|source| ServeError::Listen {
        addresses: settings.bind.clone(),
        source,
    })?;
    listener
        .set_nonblocking(true)
        .map_err(system("make the listener non-blocking"))?;
    let address = listener.local_addr().map_err(system("find the port"))?;
    let listener = TcpListener::from_std(listener).map_err(system("listen"))?;
    let desk = Desk::open(DeskConfig {
        dir: state.join(DIR),
        shared: settings.shared,
        environment: settings.environment,
        workdir: std::env::current_dir().map_err(system("find the working directory"))?,
        mint_url: settings.mint_url,
        docker: settings.docker,
        connectivity: settings.connectivity,
        one_stage: false,
        holder_program: program,
    })?;
    tracing::warn!(
        %address,
        "serving the incumbent's protocol alone, under its certificates: a step that reads this \
         agent's key can act as the runner"
    );
    let _socket = socket::open(&desk)
        .inspect_err(|error| {
            tracing::warn!(
                error = chain(error),
                "steps get no tokens of their identities"
            );
        })
        .ok();
    let limits = Limits {
        connections: CONNECTIONS,
        ..Limits::default()
    };
    let service = Json(desk.clone());
    let connected = move |stream: TlsStream<TcpStream>, tasks: Tasks, limits: Arc<Limits>| {
        let service = service.clone();
        async move {
            if stream.get_ref().1.alpn_protocol() == Some(H2) {
                tasks.http2(&limits, stream, service).await;
            } else {
                tasks.http1(stream, service).await;
            }
        }
    };
    // Who waits for a step is told at once that this process ends.
    let closing = desk.clone();
    let port = Port::new(TlsAcceptor::from(Arc::new(tls)), limits, stop.clone());
    tokio::join!(port.serve(listener, connected), async {
        stop.cancelled().await;
        closing.stop_waiting();
    });
    desk.close().await;
    Ok(())
}

/// The routes, as what serves connections takes them.
#[derive(Clone, Debug)]
pub(super) struct Json<D>(pub(super) D);

impl<D: Desks + Clone + 'static> Service<Request<Incoming>> for Json<D> {
    type Response = http::Response<routes::AnswerBody>;
    type Error = Infallible;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send + 'static>,
    >;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let desks = self.0.clone();
        Box::pin(async move { routes::answer(&desks, request).await })
    }
}
