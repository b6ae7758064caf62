//! The options that say who gets in.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::policy::Wanted;
use super::tls::TlsFiles;

const MOST_CONNECTIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");
const MOST_REQUESTS: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who gets in")]
pub(crate) struct AccessArgs {
    /// The certificate that --listen and --grpc-listen show, with its chain, in PEM: they speak
    /// TLS 1.3 then. It is read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,

    /// Who has a certificate of this CA gets in, by the name in it; with --tokens, who has a
    /// token does, too
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Who may ask: callers with their tokens, pools and limits; read again as the certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tokens: Option<PathBuf>,

    /// Listen where others reach the runner, although nothing keeps anybody out
    #[arg(long)]
    pub(crate) open: bool,

    /// Connections for builds at a time; beyond them those that are silent longest are closed
    #[arg(long, value_name = "N", default_value_t = MOST_CONNECTIONS)]
    pub(crate) max_connections: NonZeroU32,

    /// Requests a second of one caller that has no limit of its own, or of one address; not of
    /// this host, where no token is needed
    #[arg(long, value_name = "N", default_value_t = MOST_REQUESTS)]
    pub(crate) max_requests_per_second: NonZeroU32,
}

impl Default for AccessArgs {
    fn default() -> Self {
        Self {
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tokens: None,
            open: false,
            max_connections: MOST_CONNECTIONS,
            max_requests_per_second: MOST_REQUESTS,
        }
    }
}

impl AccessArgs {
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            tls: self.tls_cert.is_some(),
            client_ca: self.tls_client_ca.is_some(),
            tokens: self.tokens.is_some(),
            open: self.open,
        }
    }

    /// The files of TLS, where it is wanted.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.tls_client_ca.clone(),
            certificate_optional: self.tokens.is_some(),
        })
    }

    /// All files, which are read again when they change.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [
            &self.tls_cert,
            &self.tls_key,
            &self.tls_client_ca,
            &self.tokens,
        ];
        files.into_iter().flatten()
    }
}
