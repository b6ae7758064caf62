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
    /// Its user data has no file that our agent is started with.
    #[error("the user data places no file named {REQUEST}")]
    NoRequest,
}

/// The name of the file that holds what the agent was ordered with.
const REQUEST: &str = "request";

/// An instance with our agent: the files of its user data are placed below its
/// disk, and the agent is started with the one that is named `request`
/// (certificate, secret and clocks), on the instance's address.
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
        let request = files
            .iter()
            .find(|file| file.path.file_name().is_some_and(|name| name == REQUEST))
            .ok_or(GuestError::NoRequest)?;
        let mut program = Command::new(&self.agent);
        program
            .arg("server")
            .arg("--request")
            .arg(below(disk, &request.path))
            .args(["--machine", &birth.instance])
            .arg("--state")
            .arg(disk.join("state"))
            .arg("--listen")
            .arg(format!("{}:{}", birth.private_address, self.port))
            // The end of the agent's process is the machine's power-off.
            .args(["--end-with", "true"]);
        Ok(program)
    }
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
