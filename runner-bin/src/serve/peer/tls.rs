//! The two ends of a connection between runners: who they are is verified by
//! what [`vmpool_agent`] makes of the deployment's CA, wherever they are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use vmpool_agent::{Authority, AuthorityError, peer_client, peer_server};

/// For one connection, or one handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets runners of the deployment in.
#[derive(Clone)]
pub(crate) struct Doorman(TlsAcceptor);

impl Doorman {
    pub(crate) fn new(authority: &Arc<Authority>) -> Result<Self, AuthorityError> {
        Ok(Self(TlsAcceptor::from(Arc::new(peer_server(authority)?))))
    }

    /// # Errors
    /// It is no runner of the deployment, or too slow.
    pub(crate) async fn admit(
        &self,
        stream: TcpStream,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        timeout(PATIENCE, self.0.accept(stream)).await?
    }
}

/// Connects to runners of the deployment.
#[derive(Clone)]
pub(crate) struct Caller {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(authority: &Arc<Authority>) -> anyhow::Result<Self> {
        Ok(Self {
            connector: TlsConnector::from(Arc::new(peer_client(authority)?)),
            name: ServerName::try_from(authority.peer_name().to_owned())?,
        })
    }

    /// # Errors
    /// Nobody answers at `authority`, or no runner of the deployment.
    pub(crate) async fn call(&self, authority: &str) -> io::Result<client::TlsStream<TcpStream>> {
        let stream = timeout(PATIENCE, TcpStream::connect(authority)).await??;
        stream.set_nodelay(true)?;
        timeout(PATIENCE, self.connector.connect(self.name.clone(), stream)).await?
    }
}
