//! Whose certificates AWS's endpoints may show beside those that this host
//! trusts: where a proxy looks into TLS, or the endpoint is a private one.
//!
//! `AWS_CA_BUNDLE` names the file, as for AWS's own tools; the SDK does not read
//! it by itself. The way there, `HTTPS_PROXY` and `NO_PROXY`, is the SDK's. None
//! of it concerns agents: they show certificates of the deployment's CA, and
//! are dialled directly.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

/// The variable that names the file.
const VARIABLE: &str = "AWS_CA_BUNDLE";

/// Certificates of authorities, in PEM.
#[derive(Debug, Clone)]
pub struct CaBundle(Vec<u8>);

/// A file that is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It can't be read.
    #[error("read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM.
    #[error("read the certificates of {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Where.
        source: pem::Error,
    },
    /// There is none in it.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl CaBundle {
    /// That of the environment, if it names one.
    ///
    /// # Errors
    /// [`BundleError`]: it is no bundle.
    pub fn of_environment() -> Result<Option<Self>, BundleError> {
        let named = std::env::var_os(VARIABLE).filter(|path: &OsString| !path.is_empty());
        named.map(|path| Self::read(Path::new(&path))).transpose()
    }

    /// That of a file.
    ///
    /// # Errors
    /// [`BundleError`]: it is no bundle.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let path = || path.to_owned();
        let text = std::fs::read(path()).map_err(|source| BundleError::Unreadable {
            path: path(),
            source,
        })?;
        let mut count = 0;
        // The client would not say where: it takes bad ones for a bug.
        for certificate in CertificateDer::pem_slice_iter(&text) {
            certificate.map_err(|source| BundleError::Pem {
                path: path(),
                source,
            })?;
            count += 1;
        }
        if count == 0 {
            return Err(BundleError::Empty { path: path() });
        }
        Ok(Self(text))
    }

    /// The SDK's own client, that trusts these authorities too.
    pub(crate) fn client(&self) -> SharedHttpClient {
        let trusted = TrustStore::default().with_pem_certificate(self.0.clone());
        let tls = TlsContext::builder().with_trust_store(trusted).build();
        let tls = tls.expect("no server names are added, which alone can fail");
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(tls.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.build()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_a_file_that_is_no_bundle_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let refused = || CaBundle::read(&path).expect_err("no bundle").to_string();
        assert!(refused().starts_with("read /"));
        std::fs::write(&path, "no certificate").expect("written");
        assert!(refused().ends_with("ca.pem holds no certificate"));
        let broken = "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, broken).expect("written");
        assert!(refused().starts_with("read the certificates of /"));
    }
}
