//! What a runner is shown, and what it must show, where it does not let
//! everybody in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

use super::runner::Unreached;
use crate::outgoing;

/// The longest token.
const LONGEST: u64 = 4096;

#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_field_names, reason = "they are the options' names")]
pub(crate) struct KeyArgs {
    /// The file with the token that the runner is shown, where it wants one
    #[arg(
        long,
        value_name = "FILE",
        env = "VMPOOL_TOKEN_FILE",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// The CA of the certificate that an https:// runner shows [default: the system's CAs]
    #[arg(
        long,
        value_name = "FILE",
        env = "VMPOOL_CA_FILE",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// The certificate that the runner is shown, with its key, where it wants one
    #[arg(
        long,
        value_name = "FILE",
        env = "VMPOOL_CERT_FILE",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) cert_file: Option<PathBuf>,
}

/// The same, read.
#[derive(Clone, Default)]
pub(super) struct Keys {
    token: Option<MetadataValue<Ascii>>,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl KeyArgs {
    /// Reads the files, for a runner at that URL. Blocks shortly.
    ///
    /// # Errors
    /// One can't be used.
    pub(super) fn read(&self, speaks_tls: bool) -> anyhow::Result<Keys> {
        let token = self.token_file.as_deref().map(token).transpose()?;
        let tls = speaks_tls.then(|| self.tls()).transpose()?;
        Ok(Keys { token, tls })
    }

    fn tls(&self) -> anyhow::Result<TlsConnector> {
        let certificate = self.cert_file.as_deref().map(certificate).transpose()?;
        let mut config = match &self.ca_file {
            Some(file) => outgoing::only(file, certificate)?,
            None => outgoing::system_and(None, certificate)?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Keys {
    /// Adds the token to what is asked.
    pub(super) fn show<Q>(&self, request: &mut tonic::Request<Q>) {
        if let Some(token) = &self.token {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
    }

    /// Connects, over TLS where the URL says so.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Channel, tonic::transport::Error> {
        let Some(tls) = self.tls.clone() else {
            return endpoint.connect().await;
        };
        let connector = tower::service_fn(move |uri: Uri| {
            let tls = tls.clone();
            async move {
                let host = uri.host().unwrap_or_default();
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let port = uri.port_u16().unwrap_or(443);
                let server =
                    ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
                let stream = TcpStream::connect((name, port)).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(server, stream).await?))
            }
        });
        endpoint.connect_with_connector(connector).await
    }
}

/// Why files that keys are read from can't be used.
impl From<(String, anyhow::Error)> for Unreached {
    fn from((url, error): (String, anyhow::Error)) -> Self {
        Self::Url {
            url,
            why: format!("{error:#}"),
        }
    }
}

fn token(path: &Path) -> anyhow::Result<MetadataValue<Ascii>> {
    use anyhow::Context as _;
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .with_context(|| format!("read the token in {}", path.display()))?;
    let shown = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut shown = MetadataValue::try_from(shown.as_str())
        .ok()
        .filter(|_| !text.trim().is_empty())
        .with_context(|| format!("{}: that is no token on one line", path.display()))?;
    shown.set_sensitive(true);
    Ok(shown)
}

fn certificate(path: &Path) -> anyhow::Result<outgoing::Own> {
    use anyhow::Context as _;
    use rustls::pki_types::pem::PemObject as _;
    let told = || format!("read a certificate and its key in {}", path.display());
    let chain = CertificateDer::pem_file_iter(path).with_context(told)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().with_context(told)?;
    let key = PrivateKeyDer::from_pem_file(path).with_context(told)?;
    Ok((chain, key))
}
