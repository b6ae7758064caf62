//! `lite-engine certs`: certificates of the incumbent's scheme.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lite_engine::compat::certificates::Certificates;
use lite_engine::compat::settings::{Above, Variables, server_name};

use super::Done;

/// Makes a CA and one certificate for both ends of the incumbent's protocol.
///
/// Writes ca-cert.pem, ca-key.pem, server-cert.pem and server-key.pem, for
/// nobody else to read. The name in them is SERVER_NAME, or `drone`. Whoever
/// has server-key.pem can act as the runner.
#[derive(Args)]
pub(crate) struct Certs {
    /// Where they are written.
    #[arg(
        long = "certPath",
        alias = "cert-path",
        value_name = "DIR",
        default_value = "/tmp/certs"
    )]
    cert_path: PathBuf,

    /// Settings; the process's own environment counts above them.
    #[arg(long, value_name = "FILE", default_value = ".env")]
    env_file: PathBuf,
}

impl Certs {
    pub(crate) fn run(self) -> Done {
        let variables = Variables::read(&self.env_file, Above::Process)?;
        Certificates::new(&server_name(&variables))?.write(&self.cert_path)?;
        Ok(ExitCode::SUCCESS)
    }
}
