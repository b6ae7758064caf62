//! The one file that a deployment's trust is kept in: `trust.pem`, with the
//! CA's certificate and key, the enrolment key, and the deployment's id.
//!
//! One file, because it comes into being in one step: it is written under
//! another name and linked to its own only if that is still free. Whoever is
//! second reads what the first has written.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use rcgen::KeyPair;
use vmpool_core::DeploymentId;
use zeroize::Zeroizing;

use super::seal::KEY_LEN;
use super::{AuthorityError, certificates, crypto};

const NAME: &str = "trust.pem";

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
const CA_KEY: &str = "PRIVATE KEY";
const ENROLMENT_KEY: &str = "VMPOOL ENROLMENT KEY";
const DEPLOYMENT: &str = "VMPOOL DEPLOYMENT ID";

/// What a deployment's trust is made of.
pub(super) struct Material {
    pub(super) ca_der: Vec<u8>,
    pub(super) ca_key: KeyPair,
    pub(super) enrolment_key: Zeroizing<[u8; KEY_LEN]>,
    pub(super) deployment: DeploymentId,
}

impl Material {
    pub(super) fn fresh() -> Result<Self, AuthorityError> {
        let deployment = DeploymentId::fresh();
        let ca_key = KeyPair::generate().map_err(|error| crypto("make the CA's key", &error))?;
        let ca = certificates::ca(&ca_key, deployment.as_str(), SystemTime::now())?;
        let mut enrolment_key = Zeroizing::new([0; KEY_LEN]);
        aws_lc_rs::rand::fill(&mut *enrolment_key)
            .map_err(|error| crypto("make the enrolment key", &error))?;
        Ok(Self {
            ca_der: ca.to_vec(),
            ca_key,
            enrolment_key,
            deployment,
        })
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let section = |label: &str, content: &[u8]| pem::Pem::new(label, content);
        Zeroizing::new(pem::encode_many(&[
            section(DEPLOYMENT, self.deployment.as_str().as_bytes()),
            section(CERTIFICATE, &self.ca_der),
            section(CA_KEY, self.ca_key.serialized_der()),
            section(ENROLMENT_KEY, &*self.enrolment_key),
        ]))
    }

    fn from_pem(text: &[u8]) -> Result<Self, String> {
        let sections = pem::parse_many(text).map_err(|error| error.to_string())?;
        let find = |label: &str| {
            let section = sections.iter().find(|section| section.tag() == label);
            section
                .map(pem::Pem::contents)
                .ok_or_else(|| format!("it has no {label}"))
        };
        let deployment = String::from_utf8_lossy(find(DEPLOYMENT)?);
        let enrolment_key = <[u8; KEY_LEN]>::try_from(find(ENROLMENT_KEY)?)
            .map_err(|_| format!("its {ENROLMENT_KEY} has not {KEY_LEN} bytes"))?;
        Ok(Self {
            ca_der: find(CERTIFICATE)?.to_vec(),
            ca_key: KeyPair::try_from(find(CA_KEY)?)
                .map_err(|error| format!("its {CA_KEY}: {error}"))?,
            enrolment_key: Zeroizing::new(enrolment_key),
            deployment: DeploymentId::parse(&deployment).map_err(|error| error.to_string())?,
        })
    }
}

pub(super) fn open_or_create(folder: &Path) -> Result<Material, AuthorityError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(|source| failed("create", folder, source))?;
    let mode = fs::metadata(folder).map_err(|source| failed("read", folder, source))?;
    refuse(&mode, folder, 0o022, "replace what is in", 0o700)?;
    match read(folder)? {
        Some(material) => Ok(material),
        None if write(folder, &Material::fresh()?)? => {
            // Read back, so that what runs now is what will run after a restart.
            read(folder)?.ok_or_else(|| vanished(folder))
        }
        None => read(folder)?.ok_or_else(|| vanished(folder)),
    }
}

fn read(folder: &Path) -> Result<Option<Material>, AuthorityError> {
    let path = folder.join(NAME);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("open", &path, source)),
    };
    let metadata = file
        .metadata()
        .map_err(|source| failed("read", &path, source))?;
    refuse(&metadata, &path, 0o077, "read", 0o600)?;
    let mut text = Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut file, &mut text).map_err(|source| failed("read", &path, source))?;
    match Material::from_pem(&text) {
        Ok(material) => Ok(Some(material)),
        Err(reason) => Err(AuthorityError::Damaged { path, reason }),
    }
}

/// Says whether it was written: `false` means that another was first.
fn write(folder: &Path, material: &Material) -> Result<bool, AuthorityError> {
    let path = folder.join(NAME);
    let write = || -> io::Result<bool> {
        // The library makes its files with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(material.to_pem().as_bytes())?;
        file.as_file().sync_all()?;
        if let Err(error) = file.persist_noclobber(&path) {
            let second = error.error.kind() == io::ErrorKind::AlreadyExists;
            return if second { Ok(false) } else { Err(error.error) };
        }
        File::open(folder)?.sync_all()?;
        Ok(true)
    };
    write().map_err(|source| failed("create", &path, source))
}

/// Refuses what carries one of the bits `risky`.
fn refuse(
    metadata: &fs::Metadata,
    path: &Path,
    risky: u32,
    risk: &'static str,
    right: u32,
) -> Result<(), AuthorityError> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
        if mode & risky != 0 {
            return Err(AuthorityError::Exposed {
                path: path.to_owned(),
                mode,
                risk,
                right,
            });
        }
    }
    #[cfg(not(unix))]
    let _ = (metadata, path, risky, risk, right);
    Ok(())
}

fn vanished(folder: &Path) -> AuthorityError {
    failed(
        "read",
        &folder.join(NAME),
        io::Error::from(io::ErrorKind::NotFound),
    )
}

fn failed(attempted: &'static str, path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::File {
        attempted,
        path: path.to_owned(),
        source,
    }
}
