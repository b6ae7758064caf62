//! What the agent keeps on the disk besides its steps and its identity.
//!
//! The fence and the key are fsynced, because to forget them would be to serve
//! a second stage or to take a retry for something new. The rest is lost with
//! the machine's power, and then the stage is over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vmpool_core::agent::{BootId, FenceRecord, StageRecord};

use super::clock::Birth;

const FENCE: &str = "fence";
const STAGE: &str = "stage";
const SETUP: &str = "setup";
const BIRTH: &str = "birth";
const KEY: &str = "digest.key";

/// A file of the agent's could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} {}", path.display())]
pub(super) struct StoreError {
    attempted: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StoreError {
    pub(super) fn into_source(self) -> io::Error {
        self.source
    }
}

/// What every step of the stage gets.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The steps' working directory, absolute.
    pub(super) workdir: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    /// Values that no log may show.
    pub(super) secrets: Vec<String>,
}

/// Shows neither environment nor secrets (P11).
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("workdir", &self.workdir)
            .finish_non_exhaustive()
    }
}

/// The agent's own directory, which only its user may enter.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
        made.map_err(|source| StoreError {
            attempted: "create",
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The fence as it was last written. The error says why it can't be read.
    pub(super) fn fence(&self) -> Result<Option<FenceRecord>, StoreError> {
        self.read(FENCE)
    }

    pub(super) fn write_fence(&self, fence: &FenceRecord) -> Result<(), StoreError> {
        self.write(FENCE, &to_json(fence), true)
    }

    /// The stage's progress; none if it can't be read.
    pub(super) fn stage(&self) -> Option<StageRecord> {
        self.read(STAGE).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the stage's record"
            );
            None
        })
    }

    pub(super) fn write_stage(&self, stage: &StageRecord) -> Result<(), StoreError> {
        self.write(STAGE, &to_json(stage), false)
    }

    pub(super) fn setup(&self) -> Result<Option<Setup>, StoreError> {
        self.read(SETUP)
    }

    pub(super) fn write_setup(&self, setup: &Setup) -> Result<(), StoreError> {
        self.write(SETUP, &to_json(setup), false)
    }

    pub(super) fn remove_setup(&self) -> Result<(), StoreError> {
        match fs::remove_file(self.dir.join(SETUP)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| self.failed("remove", SETUP, source)),
        }
    }

    /// When the machine began in this boot.
    pub(super) fn birth(&self, boot: BootId) -> Result<Birth, StoreError> {
        if let Some(birth) = self
            .read::<Birth>(BIRTH)?
            .filter(|birth| birth.boot == boot)
        {
            return Ok(birth);
        }
        let birth = Birth::now(boot);
        self.write(BIRTH, &to_json(&birth), false)?;
        Ok(birth)
    }

    /// The key of this machine's digests.
    pub(super) fn key(&self) -> Result<[u8; 32], StoreError> {
        let known = match fs::read(self.dir.join(KEY)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some(read.map_err(|source| self.failed("read", KEY, source))?),
        };
        if let Some(known) = known {
            let odd = || self.failed("read", KEY, io::Error::other("it has not 32 bytes"));
            return known.try_into().map_err(|_| odd());
        }
        let mut key = [0; 32];
        let filled = rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"));
        filled.map_err(|source| self.failed("make", KEY, source))?;
        self.write(KEY, &key, true)?;
        Ok(key)
    }

    fn read<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let read = match fs::read(self.dir.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read,
        };
        read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .map(Some)
            .map_err(|source| self.failed("read", name, source))
    }

    /// Writes a file that is never seen half-written; `durably` with fsync.
    fn write(&self, name: &'static str, bytes: &[u8], durably: bool) -> Result<(), StoreError> {
        let new = self.dir.join(format!("{name}.new"));
        let written = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(bytes)?;
            if durably {
                file.sync_all()?;
            }
            fs::rename(&new, self.dir.join(name))?;
            if durably {
                File::open(&self.dir)?.sync_all()?;
            }
            Ok(())
        };
        written().map_err(|source| self.failed("write", name, source))
    }

    fn failed(&self, attempted: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError {
            attempted,
            path: self.dir.join(name),
            source,
        }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own records have string keys and no foreign types")
}
