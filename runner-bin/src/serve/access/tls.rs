//! TLS at the doors for builds and tools: the runner's certificate, and whom
//! it believes of those that show one.
//!
//! TLS 1.3 only, as everywhere else here. What is spoken inside is settled by
//! ALPN: HTTP/1.1 at the door for builds, HTTP/2 at the one for tools.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::files::{self, FileError};

/// For a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// The options of TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose certificates are believed.
    pub(crate) client_ca: Option<PathBuf>,
    /// A client may do without a certificate: it has a token.
    pub(crate) certificate_optional: bool,
}

/// Why the files are not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("read {what} in {} as PEM: {why}", path.display())]
    Pem {
        what: &'static str,
        path: PathBuf,
        why: String,
    },
    #[error("the certificate in {} has expired", path.display())]
    Expired { path: PathBuf },
    #[error("serve with the certificate in {}", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("believe the certificates of {}: {why}", path.display())]
    ClientCa { path: PathBuf, why: String },
}

/// Which door a connection came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoorKind {
    /// HTTP/1.1.
    Builds,
    /// HTTP/2.
    Tools,
}

/// What handshakes are made with.
#[derive(Clone)]
pub(crate) struct Tls {
    builds: TlsAcceptor,
    tools: TlsAcceptor,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files. Blocks shortly.
    ///
    /// # Errors
    /// They can't be used.
    pub(crate) fn load(of: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates("a certificate", &of.certificate)?;
        if let Some(own) = chain.first()
            && is_expired(own, SystemTime::now())
        {
            let path = of.certificate.clone();
            return Err(TlsError::Expired { path });
        }
        let text = files::read_secret(&of.key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| TlsError::Pem {
            what: "a private key",
            path: of.key.clone(),
            why: error.to_string(),
        })?;
        let unusable = |source| TlsError::Unusable {
            path: of.certificate.clone(),
            source,
        };
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?;
        let builder = match &of.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if of.certificate_optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier.build().map_err(|error| TlsError::ClientCa {
                    path: path.clone(),
                    why: error.to_string(),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // Refuses a key that is not the certificate's.
        let config = builder.with_single_cert(chain, key).map_err(unusable)?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        Ok(Self {
            builds: speaking(b"http/1.1"),
            tools: speaking(b"h2"),
        })
    }

    /// # Errors
    /// It speaks no TLS, shows nothing that is believed, or is too slow.
    ///
    /// # Cancel safety
    /// A dropped call drops the connection.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        door: DoorKind,
    ) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = match door {
            DoorKind::Builds => &self.builds,
            DoorKind::Tools => &self.tools,
        };
        timeout(PATIENCE, acceptor.accept(stream)).await?
    }
}

/// The name that the other end's certificate is for: the first DNS name, URI
/// or e-mail address that it has, else its common name. None: it showed none.
pub(crate) fn peer_name(stream: &TlsStream<TcpStream>) -> Option<Arc<str>> {
    let (_, connection) = stream.get_ref();
    let own = connection.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(own).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative
        .iter()
        .flat_map(|names| &names.value.general_names);
    let name = names.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some(*name)
        }
        _ => None,
    });
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|name| name.as_str().ok());
    name.chain(common).next().map(Arc::from)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = files::read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let bad = |why: String| TlsError::Pem {
        what,
        path: path.to_owned(),
        why,
    };
    let read = read.map_err(|error| bad(error.to_string()))?;
    if read.is_empty() {
        return Err(bad("there is none".to_owned()));
    }
    Ok(read)
}

/// The certificates of a file, each of them believed.
///
/// # Errors
/// The file can't be read, or has none.
fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the CA's certificates", path)? {
        roots.add(certificate).map_err(|error| TlsError::ClientCa {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// One that can't be read is not expired: TLS says what is wrong with it.
fn is_expired(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let until = certificate.validity().not_after.timestamp();
    u64::try_from(until).is_ok_and(|until| until < now)
}
