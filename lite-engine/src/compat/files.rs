//! Writes the files and makes the directories that a stage or a step asks for.
//!
//! What is there already keeps its permissions, if it is a directory. A file
//! comes in the place of an earlier one; a link that is there is replaced and
//! not followed.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use vmpool_proto::incumbent::{File, SetupRequest};

use crate::fresh_file;

/// Permissions of a file for which the request names none.
const USUAL_MODE: u32 = 0o644;

/// A file or directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{field}: create {}", path.display())]
pub(super) struct FilesError {
    field: String,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Makes what the setup asks for.
pub(super) fn prepare(setup: &SetupRequest) -> Result<(), FilesError> {
    write_all(&setup.files)?;
    let volumes = setup.volumes.iter().enumerate();
    for (n, volume) in volumes.filter_map(|(n, volume)| Some((n, volume.host.as_ref()?))) {
        let path = Path::new(&volume.path);
        // Devices, sockets, and directories that are there stay as they are.
        if volume.path.is_empty() || path.exists() || path.starts_with("/dev") || is_socket(path) {
            continue;
        }
        make_dirs(path).map_err(|source| FilesError {
            field: format!("volumes[{n}].host.path"),
            path: path.to_owned(),
            source,
        })?;
    }
    if let Some((path, content)) = netrc(setup) {
        let made = fresh_file::replace(&path, content.as_bytes());
        made.map(drop).map_err(|source| FilesError {
            field: "envs.DRONE_PERSIST_CREDS".into(),
            path,
            source,
        })?;
    }
    Ok(())
}

/// Writes these files.
pub(super) fn write_all(files: &[File]) -> Result<(), FilesError> {
    for (n, file) in files.iter().enumerate() {
        write(file).map_err(|source| FilesError {
            field: format!("files[{n}].path"),
            path: file.path.clone().into(),
            source,
        })?;
    }
    Ok(())
}

fn write(file: &File) -> io::Result<()> {
    let path = Path::new(&file.path);
    if !path.is_absolute() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not absolute",
        ));
    }
    let mode = match file.mode & 0o7777 {
        0 if file.is_dir => 0o777,
        0 => USUAL_MODE,
        mode => mode,
    };
    if !file.is_dir {
        make_dirs(path.parent().unwrap_or(path))?;
        let content = file.data.as_bytes();
        let made = fresh_file::replace(path, content)?;
        return made.set_permissions(Permissions::from_mode(mode));
    }
    if path.is_dir() {
        return Ok(());
    }
    make_dirs(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Makes the directory and its missing parents, for everybody to write to, as
/// steps of several users need them.
fn make_dirs(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        // Whatever this process's mask is.
        fs::set_permissions(dir, Permissions::from_mode(0o777))?;
    }
    Ok(())
}

fn is_socket(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "sock")
}

/// Credentials for git, where the stage wants them kept.
fn netrc(setup: &SetupRequest) -> Option<(PathBuf, String)> {
    let value = |name: &str| setup.envs.get(name).filter(|value| !value.is_empty());
    value("DRONE_PERSIST_CREDS").filter(|value| *value == "true")?;
    let machine = value("DRONE_NETRC_MACHINE")?;
    let login = value("DRONE_NETRC_USERNAME")?;
    let password = value("DRONE_NETRC_PASSWORD")?;
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let content = format!("machine {machine} login {login} password {password}\n");
    Some((Path::new(&home).join(".netrc"), content))
}
