//! TLS as the incumbent does it: 1.3 only, the caller's certificate of the same
//! CA as the server's, which may be the very same certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{ClientSettings, ServerSettings};

/// What is spoken on a connection.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Certificates and keys can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file can't be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refuses them.
    #[error("set up TLS: {reason}")]
    Tls {
        /// What it said.
        reason: String,
    },
}

/// The server's end.
///
/// # Errors
/// The first file that can't be used.
pub fn server(settings: &ServerSettings) -> Result<ServerConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = roots(&settings.ca)?;
    let callers = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| refused(&error))?;
    let (chain, key) = identity(&settings.certificate, &settings.key)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(|error| refused(&error))?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    Ok(config)
}

/// The client's end.
///
/// # Errors
/// The first file that can't be used.
pub fn client(settings: &ClientSettings) -> Result<ClientConfig, TrustError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let roots = roots(&settings.ca)?;
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| refused(&error))?;
    let (chain, key) = identity(&settings.certificate, &settings.key)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&error))?
        .with_webpki_verifier(servers)
        .with_client_auth_cert(chain, key)
        .map_err(|error| refused(&error))?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| content(path, &error))?;
    }
    Ok(Arc::new(roots))
}

fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TrustError> {
    let chain = certificates(certificate)?;
    let pem = zeroize::Zeroizing::new(read(key)?);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| content(key, &error))?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(content(path, &"holds no certificate")),
        found => found.map_err(|error| content(path, &error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(path).map_err(|source| TrustError::File {
        path: path.to_owned(),
        source,
    })
}

fn content(path: &Path, reason: &dyn ToString) -> TrustError {
    TrustError::Content {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn refused(error: &dyn ToString) -> TrustError {
    TrustError::Tls {
        reason: error.to_string(),
    }
}
