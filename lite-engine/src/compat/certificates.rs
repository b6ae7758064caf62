//! The incumbent's kind of certificates: a CA, and one leaf for both roles.
//!
//! Whoever has the leaf's key is server and client alike. The agent's machine
//! has it, and so has every step there that may read its files: such a step can
//! call the agent as the runner does. That is the scheme's weakness, and why
//! nothing but the incumbent's own protocol is served under it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::fresh_file;

const ORGANIZATION: &str = "drone.vm.generated";
const LASTS: Duration = Duration::days(1080);
const BACKDATED: Duration = Duration::minutes(5);

/// Certificates could not be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificatesError {
    /// The library failed.
    #[error("make {what}: {reason}")]
    Make {
        /// What was made.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A CA and its leaf, in PEM.
pub struct Certificates {
    /// The CA's certificate.
    pub ca: String,
    /// The CA's key.
    pub ca_key: Zeroizing<String>,
    /// The leaf's certificate.
    pub leaf: String,
    /// The leaf's key.
    pub leaf_key: Zeroizing<String>,
}

/// Shows no keys.
impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// New ones; the leaf is for `server_name`.
    ///
    /// # Errors
    /// The library fails, or the name can't be in a certificate.
    pub fn new(server_name: &str) -> Result<Self, CertificatesError> {
        let usages = vec![
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyAgreement,
        ];
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed("a key"));
        let mut params = params(&[]).map_err(failed("the CA"))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.clone_from(&usages);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let ca_key = key()?;
        let ca = params.self_signed(&ca_key).map_err(failed("the CA"))?;
        let ca_key_pem = Zeroizing::new(ca_key.serialize_pem());

        let mut leaf_params =
            self::params(&[server_name.to_owned()]).map_err(failed("the certificate"))?;
        leaf_params.key_usages = usages;
        let leaf_key = key()?;
        let leaf = leaf_params
            .signed_by(&leaf_key, &Issuer::new(params, ca_key))
            .map_err(failed("the certificate"))?;
        Ok(Self {
            ca: ca.pem(),
            ca_key: ca_key_pem,
            leaf: leaf.pem(),
            leaf_key: Zeroizing::new(leaf_key.serialize_pem()),
        })
    }

    /// Writes the four files of the incumbent, for nobody else to read.
    ///
    /// # Errors
    /// The first file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), CertificatesError> {
        fs::create_dir_all(folder).map_err(|source| CertificatesError::Write {
            path: folder.to_owned(),
            source,
        })?;
        for (name, pem) in [
            ("ca-cert.pem", &self.ca),
            ("ca-key.pem", &*self.ca_key),
            ("server-cert.pem", &self.leaf),
            ("server-key.pem", &*self.leaf_key),
        ] {
            let path = folder.join(name);
            fresh_file::replace(&path, pem.as_bytes())
                .map(drop)
                .map_err(|source| CertificatesError::Write { path, source })?;
        }
        Ok(())
    }
}

fn params(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, ORGANIZATION);
    let now = OffsetDateTime::now_utc();
    let backdated = now - BACKDATED;
    params.not_before = backdated
        .replace_second(0)
        .and_then(|at| at.replace_nanosecond(0))
        .unwrap_or(backdated);
    params.not_after = now + LASTS;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // A positive number.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn failed(what: &'static str) -> impl FnOnce(rcgen::Error) -> CertificatesError {
    move |error| CertificatesError::Make {
        what,
        reason: error.to_string(),
    }
}
