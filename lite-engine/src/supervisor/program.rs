//! A machine whose agent is another program, one that speaks the incumbent's
//! protocol: it is given what the incumbent's start-up script gives it.
//!
//! ```text
//! state/                  the machine's disk: where the program is started
//!   incumbent/            settings, certificates, key: for nobody else to read
//!   …                     what it and its steps leave
//! ```
//! The agent's process becomes that program, so that whoever watches the one
//! watches the other. It makes its port itself.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use vmpool_core::SecretBytes;

use super::request::secret_bytes;
use crate::fresh_file;

/// The folder of what it is given, on the machine's disk.
const FOLDER: &str = "incumbent";

/// The program that is a machine's agent, and what it is born with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments; `--env-file` and a file follow.
    pub command: Vec<String>,
    /// The CA that it obeys.
    pub ca_pem: String,
    /// Its certificate.
    pub cert_pem: String,
    /// Its key, PEM.
    #[serde(with = "secret_bytes")]
    pub key_pem: SecretBytes,
}

impl Program {
    /// Makes this process the program. Returns only why that was not done.
    ///
    /// The current directory is the machine's disk.
    pub(super) fn take_over(&self, disk: &Path, address: SocketAddr) -> io::Error {
        let Some((program, arguments)) = self.command.split_first() else {
            return io::Error::other("the agent's command is empty");
        };
        let settings = match self.write(&disk.join(FOLDER), address) {
            Ok(settings) => settings,
            Err(error) => return error,
        };
        let mut command = Command::new(program);
        command.args(arguments).arg("--env-file").arg(settings);
        let error = command.exec();
        io::Error::new(error.kind(), format!("run {program}: {error}"))
    }

    /// Writes what the program reads; gives the file of its settings.
    fn write(&self, folder: &Path, address: SocketAddr) -> io::Result<PathBuf> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = |name: &str| folder.join(name);
        fresh_file::replace(&path("ca-cert.pem"), self.ca_pem.as_bytes())?;
        fresh_file::replace(&path("server-cert.pem"), self.cert_pem.as_bytes())?;
        fresh_file::replace(&path("server-key.pem"), self.key_pem.expose())?;
        let mut settings = format!("SERVER_HTTPS_BIND={address}\nSKIP_PREPARE_SERVER=true\n");
        for (key, prefix, name) in [
            ("SERVER_CLIENT_CERT_FILE", "", "ca-cert.pem"),
            ("SERVER_SERVER_CERT_FILE", "", "server-cert.pem"),
            ("SERVER_SERVER_KEY_FILE", "", "server-key.pem"),
            // Each machine of this host has its own.
            ("HARNESS_WORKDIR", "", "shared"),
            ("HARNESS_WI_MINT_URL_OVERRIDE", "unix://", "identities"),
        ] {
            let path = path(name);
            let text = path.to_str().filter(|text| !text.contains(['\'', '\n']));
            let text = text.ok_or_else(|| {
                let reason = "its path can't be written into a file of settings";
                io::Error::other(format!("{}: {reason}", path.display()))
            })?;
            settings.extend([key, "='", prefix, text, "'\n"]);
        }
        let file = path("env");
        fresh_file::replace(&file, settings.as_bytes())?;
        Ok(file)
    }
}
