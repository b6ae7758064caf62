//! What an instance's process is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use tokio::process::Command;

use super::user_data::{File, UserData, UserDataError};
use super::{Birth, Cause};

/// Says which program an instance runs.
pub trait Guest: Send + Sync + 'static {
    /// The program, ready to start. `disk` is the instance's folder, which only
    /// this user may enter; it is there from the launch to the termination.
    ///
    /// # Errors
    /// Nothing is started then; the error is on the instance's console, as it
    /// would be where cloud-init fails.
    fn program(&self, birth: &Birth, disk: &Path) -> Result<Command, GuestError>;
}

/// Why an instance does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// Its user data can't be read.
    #[error("read what the instance was given")]
    UserData(#[from] UserDataError),
    /// A file can't be placed.
    #[error("place {path}")]
    Place {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its user data has no file that an agent is started with.
    #[error("the user data places neither a file named {REQUEST} nor {CERT}, {KEY} and {CA}")]
    NoRequest,
}

/// The name of the file that holds what the agent was ordered with.
const REQUEST: &str = "request";
/// The names of those that an agent of the incumbent's protocol is born with.
const CERT: &str = "server-cert.pem";
const KEY: &str = "server-key.pem";
const CA: &str = "ca-cert.pem";

/// An instance with our agent: the files of its user data are placed below its
/// disk, and the agent is started with the one that is named `request`
/// (certificate, secret and clocks), on the instance's address. Where there are
/// the certificates and the key of the incumbent's scheme instead, it is
/// started as the incumbent's, with a file of its settings.
#[derive(Debug, Clone)]
pub struct AgentGuest {
    /// The program `lite-engine`.
    pub agent: PathBuf,
    /// The port that it listens on.
    pub port: u16,
}

impl Guest for AgentGuest {
    fn program(&self, birth: &Birth, disk: &Path) -> Result<Command, GuestError> {
        let data = birth.user_data.as_deref().unwrap_or_default();
        let files = UserData::read(data)?.files;
        // Cloud-init runs once in an instance's life.
        if birth.cause == Cause::Launched {
            for file in &files {
                place(file, disk).map_err(|source| GuestError::Place {
                    path: file.path.clone(),
                    source,
                })?;
            }
        }
        let named = |wanted: &str| {
            let is_it = |file: &&File| file.path.file_name().is_some_and(|name| name == wanted);
            let found = files.iter().find(is_it);
            found.map(|file| below(disk, &file.path))
        };
        let address = format!("{}:{}", birth.private_address, self.port);
        let mut program = Command::new(&self.agent);
        program.arg("server").arg("--state").arg(disk.join("state"));
        if let Some(request) = named(REQUEST) {
            program
                .arg("--request")
                .arg(request)
                .args(["--machine", &birth.instance])
                .args(["--listen", &address])
                // The end of the agent's process is the machine's power-off.
                .args(["--end-with", "true"]);
        } else if let (Some(cert), Some(key), Some(ca)) = (named(CERT), named(KEY), named(CA)) {
            let settings = settings(disk, &address, [&cert, &key, &ca]);
            let path = disk.join("root/.env");
            let content = settings.into_bytes();
            let file = File {
                path: "/root/.env".into(),
                content,
                mode: 0o600,
            };
            place(&file, disk).map_err(|source| GuestError::Place {
                path: file.path,
                source,
            })?;
            program.arg("--env-file").arg(path);
        } else {
            return Err(GuestError::NoRequest);
        }
        Ok(program)
    }
}

/// What an image of the incumbent's agent has in its file of settings; the
/// paths are the instance's own, for its disk is a folder of this host.
fn settings(disk: &Path, address: &str, [cert, key, ca]: [&Path; 3]) -> String {
    let shared = disk.join("shared");
    let identities = disk.join("identities");
    format!(
        "SERVER_HTTPS_BIND={address}\nSKIP_PREPARE_SERVER=true\nSERVER_SERVER_CERT_FILE='{}'\n\
         SERVER_SERVER_KEY_FILE='{}'\nSERVER_CLIENT_CERT_FILE='{}'\nHARNESS_WORKDIR='{}'\n\
         HARNESS_WI_MINT_URL_OVERRIDE='unix://{}'\n",
        cert.display(),
        key.display(),
        ca.display(),
        shared.display(),
        identities.display(),
    )
}

/// A machine's path on its disk; what would lead out of it is left out.
fn below(disk: &Path, path: &Path) -> PathBuf {
    let inside = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    disk.join(inside.collect::<PathBuf>())
}

fn place(file: &File, disk: &Path) -> io::Result<()> {
    let path = below(disk, &file.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(file.mode)
        .open(path)?
        .write_all(&file.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_disk() {
        for (path, inside) in [
            ("/run/vmpool/request", "/disk/run/vmpool/request"),
            ("../../etc/passwd", "/disk/etc/passwd"),
            ("a/./b", "/disk/a/b"),
        ] {
            assert_eq!(
                below(Path::new("/disk"), Path::new(path)),
                Path::new(inside)
            );
        }
    }
}
