//! The deployment's root of trust: a CA and a 32-byte enrolment key.
//!
//! Everything else is made from these two: the runners' and the machines'
//! certificates, each order's enrolment secret, and the key that seals
//! requests for the journal. So a runner that restarts, or another one that is
//! given the same file, makes the same.
//!
//! Invariants:
//! - the private key and the enrolment key are in memory and in one file that
//!   only its owner can read; no other type, message or log has them;
//! - a machine's certificate is for servers only, a runner's for clients only;
//!   one that runners show each other is for both, under a name that no agent obeys.

mod certificates;
mod file;
mod seal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use vmpool_core::agent::enrolment::machine_name;
use vmpool_core::pool::RequestHash;
use vmpool_core::{Attempt, DeploymentId, MachineId, OrderId, SecretBytes};

use self::file::Material;
use self::seal::Derived;
use crate::incumbent::ThrowAway;

/// How long a runner's certificate is good for. A new one is made when half of
/// it is over.
const RUNNER_LIFE: Duration = Duration::from_hours(24);

/// How long a machine's certificate is good for.
const MACHINE_LIFE: Duration = Duration::from_hours(7 * 24);

/// Why the deployment's root of trust can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file or folder.
    #[error("{attempted} {}", path.display())]
    File {
        /// `read`, `create`, …
        attempted: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner can get at it.
    #[error("{} has mode {mode:04o}, so that others can {risk} it; set it right with: chmod {right:o} {}", path.display(), path.display())]
    Exposed {
        /// Which file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What others can do with it.
        risk: &'static str,
        /// What they should be.
        right: u32,
    },
    /// It is not what this library writes.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The library failed at a key or a certificate.
    #[error("{attempted}: {reason}")]
    Crypto {
        /// What was attempted.
        attempted: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// The deployment's CA and enrolment key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    roots: Arc<RootCertStore>,
    derived: Derived,
    deployment: DeploymentId,
    runner_name: String,
    runner: Mutex<Option<Made>>,
    peer_name: String,
    peer: Mutex<Option<Made>>,
}

/// A certificate of this process, made anew when half of its life is over.
struct Made {
    certified: Arc<CertifiedKey>,
    at: SystemTime,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the root of trust from `folder`, or makes it there. Of several
    /// that do so at once, one makes it and all get the same. Blocks.
    ///
    /// # Errors
    /// The folder can't be used, or others than its owner could read or
    /// replace what is in it.
    pub fn open_or_create(folder: &Path) -> Result<Self, AuthorityError> {
        Self::of(file::open_or_create(folder)?)
    }

    /// A root of trust that is gone with this process: for a deployment that
    /// is, too.
    ///
    /// # Errors
    /// The library could not make keys.
    pub fn ephemeral() -> Result<Self, AuthorityError> {
        Self::of(Material::fresh()?)
    }

    fn of(material: Material) -> Result<Self, AuthorityError> {
        let ca = CertificateDer::from(material.ca_der);
        let mut roots = RootCertStore::empty();
        roots
            .add(ca.clone())
            .map_err(|error| crypto("read the CA's certificate", &error))?;
        let runner_name = format!("{}.runner.vmpool", material.deployment);
        let peer_name = format!("{}.peer.vmpool", material.deployment);
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&ca, material.ca_key)
                .map_err(|error| crypto("read the CA's certificate", &error))?,
            ca_pem: pem::encode(&pem::Pem::new(file::CERTIFICATE, ca.to_vec())),
            roots: Arc::new(roots),
            derived: Derived::of(&material.enrolment_key),
            deployment: material.deployment,
            runner_name,
            runner: Mutex::new(None),
            peer_name,
            peer: Mutex::new(None),
        })
    }

    /// The random id that was made beside the CA.
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// The CA's certificate: what machines are born with.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The name that the certificates of this deployment's runners carry.
    pub fn runner_name(&self) -> &str {
        &self.runner_name
    }

    /// The name that runners of this deployment show each other.
    pub fn peer_name(&self) -> &str {
        &self.peer_name
    }

    /// The enrolment secret of an order's attempt: the same each time.
    pub(crate) fn secret(&self, order: &OrderId, attempt: Attempt) -> SecretBytes {
        self.derived.secret(order, attempt)
    }

    /// The throw-away CA of a machine of the incumbent's scheme: the same keys
    /// each time.
    ///
    /// # Errors
    /// The library failed at a key or a certificate.
    pub fn throw_away(
        &self,
        order: &OrderId,
        attempt: Attempt,
    ) -> Result<ThrowAway, AuthorityError> {
        ThrowAway::from_secret(&self.secret(order, attempt), SystemTime::now())
    }

    /// Encrypts `request`, bound to its order and attempt.
    pub(crate) fn seal(&self, order: &OrderId, attempt: Attempt, request: &[u8]) -> Arc<[u8]> {
        self.derived.seal(order, attempt, request)
    }

    /// Opens what [`Authority::seal`] made; `None` for anything else.
    pub(crate) fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Option<SecretBytes> {
        self.derived.unseal(order, attempt, sealed)
    }

    /// What was asked for, as the journal may keep it.
    pub(crate) fn keyed_hash(&self, content: &[u8]) -> RequestHash {
        self.derived.hash(content)
    }

    /// The deployment's CA, and nothing else.
    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// This runner's certificate of the moment: what agents obey.
    pub(crate) fn runner(&self, now: SystemTime) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let purposes = [ExtendedKeyUsagePurpose::ClientAuth];
        self.made(&self.runner, &self.runner_name, &purposes, now)
    }

    /// This runner's certificate of the moment: what other runners talk to.
    pub(crate) fn peer(&self, now: SystemTime) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let purposes = [
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        self.made(&self.peer, &self.peer_name, &purposes, now)
    }

    fn made(
        &self,
        last: &Mutex<Option<Made>>,
        name: &str,
        purposes: &[ExtendedKeyUsagePurpose],
        now: SystemTime,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut last = last.lock();
        if let Some(last) = &*last {
            // A clock that ran backwards counts as no time at all.
            if now.duration_since(last.at).unwrap_or_default() < RUNNER_LIFE / 2 {
                return Ok(Arc::clone(&last.certified));
            }
        }
        let certified = certificates::runner(&self.issuer, name, purposes, now, now + RUNNER_LIFE)?;
        *last = Some(Made {
            certified: Arc::clone(&certified),
            at: now,
        });
        Ok(certified)
    }

    /// A certificate that says: whoever has the private half of `key`
    /// (SubjectPublicKeyInfo, DER) is `machine`.
    pub(crate) fn certify(
        &self,
        machine: &MachineId,
        key: &[u8],
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        certificates::machine(
            &self.issuer,
            &machine_name(machine),
            key,
            now,
            now + MACHINE_LIFE,
        )
    }
}

fn crypto(attempted: &'static str, error: &dyn std::error::Error) -> AuthorityError {
    AuthorityError::Crypto {
        attempted,
        reason: error.to_string(),
    }
}
