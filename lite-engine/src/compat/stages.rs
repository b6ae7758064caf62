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

/// Bytes that the logs of a stage may take: nobody acknowledges what was read
/// here, so a smaller space would stop a step for ever.
const LOGS_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// Where they are.
pub(super) fn dir(config: &DeskConfig) -> PathBuf {
    config.dir.join("stages")
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
