//! Whose certificates are believed of those that are called.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Why nobody could be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file of a private CA.
    #[error("believe the certificates of {}: {why}", path.display())]
    File { path: PathBuf, why: String },
    /// The system's.
    #[error("this system has no CA certificates, and no file of them is named: {why}")]
    System { why: String },
    /// The certificate that is shown.
    #[error("show the certificate")]
    Own(#[source] rustls::Error),
}

/// A certificate to show, with its chain and its key.
pub(crate) type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// TLS to who has a certificate of a CA of this system, or of the file.
/// Blocks shortly.
///
/// # Errors
/// The file can't be used; or there is none, and the system has no CAs.
pub(crate) fn system_and(
    file: Option<&Path>,
    own: Option<Own>,
) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    match file {
        Some(file) => add(&mut roots, file)?,
        None if roots.is_empty() => {
            let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TrustError::System {
                why: why.join("; "),
            });
        }
        None => {}
    }
    config(roots, own)
}

/// TLS to who has a certificate of a CA of the file, and nobody else.
/// Blocks shortly.
///
/// # Errors
/// The file can't be used.
pub(crate) fn only(file: &Path, own: Option<Own>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    add(&mut roots, file)?;
    config(roots, own)
}

fn config(roots: RootCertStore, own: Option<Own>) -> Result<ClientConfig, TrustError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots);
    Ok(match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(TrustError::Own)?,
    })
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let failed = |why: String| TrustError::File {
        path: path.to_owned(),
        why,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let before = roots.len();
    for certificate in read {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| failed(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(failed("there is none in it".to_owned()));
    }
    Ok(())
}
