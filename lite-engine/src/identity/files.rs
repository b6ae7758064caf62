//! The identity's files: `key.pem`, `certificate.pem` and the mark `enrolled`,
//! each readable by the agent's user alone, each replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::IdentityError;

pub(super) const KEY: &str = "key.pem";
pub(super) const CERTIFICATE: &str = "certificate.pem";
const ENROLLED: &str = "enrolled";

pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the folder if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, IdentityError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(folder)
            .map_err(|source| failed("create", folder, source))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(super) fn key(&self) -> Result<Option<String>, IdentityError> {
        let Some(bytes) = self.read(KEY)? else {
            return Ok(None);
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| self.damaged(KEY, error.to_string()))
    }

    pub(super) fn write_key(&self, pem: &str) -> Result<(), IdentityError> {
        self.write(KEY, pem.as_bytes())
    }

    /// PEM.
    pub(super) fn certificate(&self) -> Result<Option<Vec<u8>>, IdentityError> {
        self.read(CERTIFICATE)
    }

    pub(super) fn write_certificate(&self, der: &[u8]) -> Result<(), IdentityError> {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", der));
        self.write(CERTIFICATE, pem.as_bytes())
    }

    pub(super) fn is_enrolled(&self) -> Result<bool, IdentityError> {
        Ok(self.read(ENROLLED)?.is_some())
    }

    pub(super) fn write_enrolled(&self) -> Result<(), IdentityError> {
        self.write(ENROLLED, b"")
    }

    pub(super) fn damaged(&self, name: &str, reason: String) -> IdentityError {
        IdentityError::Damaged {
            path: self.folder.join(name),
            reason,
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, IdentityError> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// Writes a file as a whole: after a crash it is the old or the new one.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        let path = self.folder.join(name);
        let fresh = self.folder.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            #[cfg(unix)]
            File::open(&self.folder)?.sync_all()?;
            Ok(())
        };
        write().map_err(|source| failed("write", &path, source))
    }
}

fn failed(attempted: &'static str, path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File {
        attempted,
        path: path.to_owned(),
        source,
    }
}
