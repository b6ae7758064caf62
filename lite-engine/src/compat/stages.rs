//! The folders of a desk's stages, one after the other; the last one counts.
//!
//! ```text
//! <dir>/stages/<n>/
//!     journal             setup, steps and answers; see `journal`
//!     host/               steps, results and logs; see `crate::host`
//! ```

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::desk::{DeskConfig, DeskError};
use super::stage::{Remains, Stage};
use crate::agent::chain;
use crate::host::{self, HostConfig};

/// The desk's directory in that of its agent.
pub(crate) const DIR: &str = "compat";

const STAGES: &str = "stages";

/// Bytes that the logs of a stage may take: nobody acknowledges what was read
/// here, so a smaller space would stop a step for ever.
const LOGS_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// Where they are.
pub(super) fn dir(config: &DeskConfig) -> PathBuf {
    config.dir.join(STAGES)
}

/// Takes up the stage of this number, a new one where there is none.
pub(super) fn open(config: &DeskConfig, number: u64) -> Result<(Stage, Remains), DeskError> {
    let path = dir(config).join(number.to_string());
    let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
    made.map_err(|source| DeskError::Folder {
        attempted: "create",
        path: path.clone(),
        source,
    })?;
    let mut host = HostConfig::new(path.join(host::DIR));
    host.holder_program.clone_from(&config.holder_program);
    host.log_space.stage_bytes = LOGS_MAX;
    Stage::open(&path, host).map_err(|error| DeskError::Stage {
        path,
        reason: chain(&error),
    })
}

/// The directories of all hosts that a desk in this directory has.
pub(crate) fn hosts(desk: &Path) -> io::Result<Vec<PathBuf>> {
    let stages = desk.join(STAGES);
    let numbers = numbers(&stages)?.into_iter();
    Ok(numbers
        .map(|number| stages.join(number.to_string()).join(host::DIR))
        .collect())
}

/// The stages that are there, the last one at the end.
pub(super) fn numbers(stages: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(stages) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_has_a_host_for_each_stage_and_none_before_the_first() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        assert_eq!(hosts(folder.path()).expect("read"), Vec::<PathBuf>::new());
        for stage in ["2", "10", "not-a-stage"] {
            fs::create_dir_all(folder.path().join(STAGES).join(stage)).expect("created");
        }
        let stages = folder.path().join(STAGES);
        let expected = ["2/host", "10/host"].map(|host| stages.join(host));
        assert_eq!(hosts(folder.path()).expect("read"), expected);
    }
}
