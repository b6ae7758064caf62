//! One connection attempt to an agent, up to the end of the TLS handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vmpool_core::agent::enrolment::machine_name;
use vmpool_core::{LinkError, Machine};

use crate::config::LinkConfig;
use crate::tls::{self, Refusal};

/// Where a machine's agent is, and whose certificate it must show.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) name: ServerName<'static>,
    /// The name as a gRPC client wants it.
    pub(crate) origin: Uri,
}

impl Place {
    pub(crate) fn of(machine: &Machine) -> Result<Self, LinkError> {
        let id = &machine.id;
        let address = machine.address;
        let address = address.ok_or_else(|| LinkError::NoAddress {
            machine: id.clone(),
        })?;
        let name = machine_name(id);
        let bad_name = |error: &dyn std::error::Error| LinkError::Enrolment {
            machine: id.clone(),
            reason: format!("{name:?} can't be the name of a certificate: {error}"),
        };
        let origin = Uri::builder()
            .scheme("https")
            .authority(name.as_str())
            .path_and_query("/");
        let origin = origin.build().map_err(|error| bad_name(&error))?;
        let name = ServerName::try_from(name.clone()).map_err(|error| bad_name(&error))?;
        Ok(Self {
            address,
            name,
            origin,
        })
    }
}

/// A connection whose other end has proved that it has a key.
pub(crate) struct Dialled {
    pub(crate) stream: TlsStream<TcpStream>,
    /// That key (SubjectPublicKeyInfo, DER).
    pub(crate) key: Vec<u8>,
    /// When the certificate that it showed ends.
    pub(crate) certificate_end: SystemTime,
}

impl Dialled {
    /// The certificate is over: renew it, and do nothing else.
    pub(crate) fn expired(&self) -> bool {
        self.certificate_end < SystemTime::now()
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("connect to {address}: no answer in {}", plain(*.after))]
    Silent {
        address: SocketAddr,
        after: std::time::Duration,
    },
    #[error("TLS handshake with {address}")]
    Handshake {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("handshake with {address}: not over in {}", plain(*.after))]
    Slow {
        address: SocketAddr,
        after: std::time::Duration,
    },
}

impl DialError {
    /// What our own verifier refused, if that was it.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Handshake { source, .. } => Refusal::find(source),
            _ => None,
        }
    }

    /// Whoever listens there does not speak what was offered.
    pub(crate) fn other_protocol(&self) -> bool {
        let Self::Handshake { source, .. } = self else {
            return false;
        };
        let error = source.get_ref().and_then(|error| error.downcast_ref());
        let no_protocol = rustls::AlertDescription::NoApplicationProtocol;
        error == Some(&rustls::Error::AlertReceived(no_protocol))
    }

    /// The host answered that nobody listens there.
    pub(crate) fn nobody_listens(&self) -> bool {
        matches!(self, Self::Connect { source, .. }
            if source.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// Connects once.
pub(crate) async fn dial(
    place: &Place,
    tls: ClientConfig,
    limits: &LinkConfig,
) -> Result<Dialled, DialError> {
    let address = place.address;
    let tcp = timeout(limits.connect_timeout, TcpStream::connect(address))
        .await
        .map_err(|_| DialError::Silent {
            address,
            after: limits.connect_timeout,
        })?
        .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
        .map_err(|source| DialError::Connect { address, source })?;
    let handshake = TlsConnector::from(Arc::new(tls)).connect(place.name.clone(), tcp);
    let stream = timeout(limits.handshake_timeout, handshake)
        .await
        .map_err(|_| DialError::Slow {
            address,
            after: limits.handshake_timeout,
        })?
        .map_err(|source| DialError::Handshake { address, source })?;
    shown(&stream)
        .map(|(key, certificate_end)| Dialled {
            stream,
            key,
            certificate_end,
        })
        .map_err(|error| DialError::Handshake {
            address,
            source: std::io::Error::other(error),
        })
}

fn shown(stream: &TlsStream<TcpStream>) -> Result<(Vec<u8>, SystemTime), rustls::Error> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates
        .first()
        .ok_or(rustls::Error::NoCertificatesPresented)?;
    Ok((tls::key_of(certificate)?, tls::end_of(certificate)?))
}

/// A time as a person writes it.
pub(crate) fn plain(span: std::time::Duration) -> String {
    format!("{} s", span.as_secs_f64())
}
