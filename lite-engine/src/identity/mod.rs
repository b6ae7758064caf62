//! Who this agent is: its key, and the certificate that it shows.
//!
//! The key is made here and never leaves the machine. At first the agent shows
//! a certificate that it signed itself, which proves nothing but the key;
//! enrolment puts the deployment's in its place, renewal a later one.
//!
//! Invariants:
//! - one key for the life of the machine, also over restarts of the agent;
//! - a certificate is written down before it is shown, and shown only if it is
//!   for this key, of this deployment's CA, and for this machine's name;
//! - once [`Standing::Enrolled`], never anything less.

mod files;
mod renewal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use self::files::Files;
pub use self::renewal::renew_certificate;

/// How far the agent has come into its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It shows a certificate that it signed itself.
    Alone,
    /// It shows the deployment's, and no runner has come back with it yet.
    Certified,
    /// A runner has connected and seen the certificate: enrolment is over, for ever.
    Enrolled,
}

/// Why the agent could not get or keep an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file of the state folder.
    #[error("{attempted} {}", path.display())]
    File {
        /// `read`, `write`, `create`.
        attempted: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the state folder has content that this agent never wrote.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The bootstrap's CA certificate can't be read.
    #[error("read the deployment's CA certificate: {reason}")]
    Ca {
        /// What is wrong with it.
        reason: String,
    },
    /// The library failed at a key or a certificate of our own.
    #[error("{attempted}: {reason}")]
    Crypto {
        /// What was attempted.
        attempted: &'static str,
        /// What the library said.
        reason: String,
    },
    /// A certificate that is not for this agent.
    #[error("refuse a certificate: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
}

/// The agent's key and certificates. Copies share them.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    key: KeyPair,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    files: Files,
    shown: RwLock<Shown>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.read();
        f.debug_struct("Identity")
            .field("name", &shown.name)
            .field("standing", &shown.standing)
            .finish_non_exhaustive()
    }
}

struct Shown {
    certified: Arc<CertifiedKey>,
    name: Option<String>,
    standing: Standing,
}

impl Identity {
    /// Takes up the identity that `folder` holds, or makes a new one there.
    /// Blocks for a few small writes.
    ///
    /// # Errors
    /// The folder can't be used, or holds what this agent never wrote.
    pub fn load_or_create(folder: &Path, ca_pem: &str) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots(ca_pem)?);
        let files = Files::open(folder)?;
        let key = load_or_make_key(&files)?;
        let mut shown = Shown {
            certified: certified(&key, &provider, self_signed(&key)?)?,
            name: None,
            standing: Standing::Alone,
        };
        if let Some(certificate) = files.certificate()? {
            let damaged = |reason: String| files.damaged(files::CERTIFICATE, reason);
            let certificate = CertificateDer::from_pem_slice(&certificate)
                .map_err(|error| damaged(error.to_string()))?;
            let name = dns_name(&certificate).map_err(damaged)?;
            shown = Shown {
                certified: certified(&key, &provider, certificate)?,
                name: Some(name),
                standing: if files.is_enrolled()? {
                    Standing::Enrolled
                } else {
                    Standing::Certified
                },
            };
        }
        Ok(Self(Arc::new(Inner {
            key,
            roots,
            provider,
            files,
            shown: RwLock::new(shown),
        })))
    }

    /// How far the agent has come.
    pub fn standing(&self) -> Standing {
        self.0.shown.read().standing
    }

    /// A request for a certificate under this agent's key (PKCS#10, DER).
    ///
    /// # Errors
    /// The library could not sign.
    pub fn csr_der(&self) -> Result<Vec<u8>, IdentityError> {
        let request = parameters()
            .serialize_request(&self.0.key)
            .map_err(|error| crypto("sign a certificate request", &error))?;
        Ok(request.der().to_vec())
    }

    /// Takes the deployment's certificate, which must be for `name`: writes it
    /// down, then shows it. The same again is no error. Blocks for an fsync.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] changes nothing.
    pub fn install(&self, certificate_der: &[u8], name: &str) -> Result<(), IdentityError> {
        let certificate = CertificateDer::from(certificate_der.to_vec());
        self.check(&certificate, name)?;
        let fresh = certified(&self.0.key, &self.0.provider, certificate)?;
        self.0.files.write_certificate(certificate_der)?;
        let mut shown = self.0.shown.write();
        shown.certified = fresh;
        shown.name = Some(name.to_owned());
        shown.standing = shown.standing.max(Standing::Certified);
        Ok(())
    }

    /// Takes a later certificate for the name that the present one has.
    ///
    /// # Errors
    /// There is no present one, or [`Identity::install`] refuses.
    pub fn install_renewed(&self, certificate_der: &[u8]) -> Result<(), IdentityError> {
        let name = self.0.shown.read().name.clone();
        let name = name.ok_or_else(|| refused("this agent has none to renew"))?;
        self.install(certificate_der, &name)
    }

    /// A runner has connected and seen the certificate. Blocks for an fsync.
    ///
    /// # Errors
    /// It could not be written down; it holds until the agent restarts.
    pub fn enrolled(&self) -> Result<(), IdentityError> {
        self.0.shown.write().standing = Standing::Enrolled;
        self.0.files.write_enrolled()
    }

    /// Gives the certificate of the moment to each TLS handshake.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(Arc::clone(&self.0)))
    }

    /// The deployment's CA, and nothing else.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0.roots)
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.0.provider)
    }

    fn check(&self, certificate: &CertificateDer<'_>, name: &str) -> Result<(), IdentityError> {
        let parsed = ParsedCertificate::try_from(certificate).map_err(refused)?;
        if parsed.subject_public_key_info().as_ref() != self.0.key.subject_public_key_info() {
            return Err(refused("it is for another key"));
        }
        // The machine's clock may be off while it boots. The runner, whose
        // clock made the dates, judges them at each connection.
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.0.roots,
            &[],
            end_of(certificate).map_err(refused)?,
            self.0.provider.signature_verification_algorithms.all,
        )
        .map_err(refused)?;
        let name = ServerName::try_from(name).map_err(refused)?;
        verify_server_name(&parsed, &name).map_err(refused)
    }
}

#[derive(Debug)]
struct Resolver(Arc<Inner>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.shown.read().certified))
    }
}

fn load_or_make_key(files: &Files) -> Result<KeyPair, IdentityError> {
    if let Some(pem) = files.key()? {
        return KeyPair::from_pem(&pem)
            .map_err(|error| files.damaged(files::KEY, error.to_string()));
    }
    let key = KeyPair::generate().map_err(|error| crypto("make a key", &error))?;
    files.write_key(&key.serialize_pem())?;
    Ok(key)
}

/// What every certificate and request of the agent says of itself: nothing
/// that anyone relies on.
fn parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "vmpool agent");
    parameters
}

fn self_signed(key: &KeyPair) -> Result<CertificateDer<'static>, IdentityError> {
    let certificate = parameters()
        .self_signed(key)
        .map_err(|error| crypto("sign a certificate of our own", &error))?;
    Ok(certificate.der().clone())
}

fn certified(
    key: &KeyPair,
    provider: &CryptoProvider,
    certificate: CertificateDer<'static>,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    let signing = provider
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .map_err(|error| crypto("load our key", &error))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], signing)))
}

fn roots(ca_pem: &str) -> Result<RootCertStore, IdentityError> {
    let ca = |reason: String| IdentityError::Ca { reason };
    let certificate =
        CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|error| ca(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate)
        .map_err(|error| ca(error.to_string()))?;
    Ok(roots)
}

/// The one DNS name of a certificate.
fn dns_name(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .ok_or_else(|| "no name in it".to_owned())
}

/// The last moment at which a certificate is valid.
fn end_of(certificate: &CertificateDer<'_>) -> Result<UnixTime, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(end)))
}

fn refused(reason: impl fmt::Display) -> IdentityError {
    IdentityError::Refused {
        reason: reason.to_string(),
    }
}

fn crypto(attempted: &'static str, error: &dyn std::error::Error) -> IdentityError {
    IdentityError::Crypto {
        attempted,
        reason: error.to_string(),
    }
}
