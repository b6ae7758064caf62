//! The throw-away CA of one machine of the incumbent's scheme (DESIGN §7).
//!
//! The incumbent's agent is born with a CA's certificate, a certificate of that
//! CA, and its key; whoever has that key is server and client alike. So each
//! such machine has a CA of its own, which knows nothing of the deployment's:
//! what is taken from one machine is of no use on another.
//!
//! Both keys are derived from the enrolment secret of the machine's order and
//! attempt: nothing is stored, and a runner that restarts, or another one of
//! the deployment, has the same keys. The certificates are made anew each time
//! and differ in their signatures only; each goes with each.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use vmpool_core::agent::Bootstrap;
use vmpool_core::{Secret, SecretBytes};
use zeroize::Zeroizing;

use crate::authority::AuthorityError;
use crate::tls;

/// The name in the certificate: what the incumbent's programs ask for.
pub(crate) const SERVER_NAME: &str = "drone";

/// Keeps these keys apart from everything else that the secret is for.
const SALT: &[u8] = b"vmpool throw-away CA v1";
const CA_INFO: &[u8] = b"CA key";
const AGENT_INFO: &[u8] = b"agent key";

/// As with the incumbent, except that they reach back a day: the clock of a
/// machine that boots may be behind.
const ORGANIZATION: &str = "drone.vm.generated";
const LASTS: Duration = Duration::from_hours(1080 * 24);
const BACKDATED: Duration = Duration::from_hours(24);

/// Bytes of a private key.
const KEY_LEN: usize = 32;

/// A key as RFC 5915 writes it, with the key's bytes between the two parts:
/// its version, and the name of its curve (P-256).
const EC_KEY_HEAD: &[u8] = &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
const EC_KEY_TAIL: &[u8] = &[
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// What a machine of the incumbent's scheme is born with, and what its runner
/// calls it with.
///
/// ```
/// use vmpool_agent::Authority;
/// use vmpool_core::{Attempt, OrderId};
///
/// # fn main() -> Result<(), vmpool_agent::AuthorityError> {
/// let authority = Authority::ephemeral()?;
/// let born_with = authority.throw_away(&OrderId::new("order-1"), Attempt(1))?;
/// assert!(born_with.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ThrowAway {
    /// The machine's CA: whom its agent obeys (`CACert`).
    pub ca_pem: String,
    /// Its key, which neither agent nor runner needs: who wants the incumbent's
    /// answers whole is given it.
    pub ca_key_pem: Secret,
    /// The agent's certificate (`TLSCert`).
    pub agent_cert_pem: String,
    /// Its key (`TLSKey`), in PKCS #8. Whoever has it can act as the runner on
    /// this one machine.
    pub agent_key_pem: Secret,
    ca: CertificateDer<'static>,
    agent: CertificateDer<'static>,
    agent_key: Secret8,
}

/// A key in PKCS #8, DER.
type Secret8 = Arc<Zeroizing<Vec<u8>>>;

/// Shows no key.
impl fmt::Debug for ThrowAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrowAway").finish_non_exhaustive()
    }
}

impl ThrowAway {
    /// For the machine that is born with `bootstrap`; one machine an order.
    ///
    /// # Errors
    /// The library failed at a key or a certificate.
    pub fn of(bootstrap: &Bootstrap) -> Result<Self, AuthorityError> {
        Self::from_secret(&bootstrap.secret, SystemTime::now())
    }

    /// From the enrolment secret of the machine's order and attempt.
    pub(crate) fn from_secret(
        secret: &SecretBytes,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let usages = [
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyAgreement,
        ];
        let ca_key = key(secret, CA_INFO)?;
        let mut ca = named(now);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = usages.to_vec();
        ca.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let signed = ca.self_signed(&ca_key);
        let ca_certificate = signed.map_err(failed("sign a throw-away CA"))?;

        let agent_key = key(secret, AGENT_INFO)?;
        let mut agent = named(now);
        let name = SERVER_NAME.try_into();
        let name = name.map_err(failed("name a throw-away certificate"))?;
        agent.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        agent.key_usages = usages.to_vec();
        let ca_key_pem = Secret::new(Zeroizing::new(ca_key.serialize_pem()).as_str());
        let signed = agent.signed_by(&agent_key, &Issuer::new(ca, ca_key));
        let agent = signed.map_err(failed("sign a throw-away certificate"))?;
        Ok(Self {
            ca_pem: ca_certificate.pem(),
            ca_key_pem,
            agent_cert_pem: agent.pem(),
            agent_key_pem: Secret::new(Zeroizing::new(agent_key.serialize_pem()).as_str()),
            ca: ca_certificate.der().clone(),
            agent: agent.der().clone(),
            agent_key: Arc::new(Zeroizing::new(agent_key.serialize_der())),
        })
    }

    /// What the runner shows: the machine's own certificate, as the scheme has it.
    pub(crate) fn identity(&self) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let key = PrivatePkcs8KeyDer::from(self.agent_key.as_slice()).clone_key();
        let loaded = tls::provider().key_provider.load_private_key(key.into());
        let key = loaded.map_err(failed("load a throw-away key"))?;
        Ok(Arc::new(CertifiedKey::new(vec![self.agent.clone()], key)))
    }

    /// Takes a certificate of this CA and no other.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, AuthorityError> {
        let mut roots = RootCertStore::empty();
        let added = roots.add(self.ca.clone());
        added.map_err(failed("trust a throw-away CA"))?;
        let provider = Arc::clone(tls::provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
        Ok(verifier.map_err(failed("trust a throw-away CA"))?)
    }
}

fn named(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let organization = DnType::OrganizationName;
    params.distinguished_name.push(organization, ORGANIZATION);
    params.not_before = OffsetDateTime::from(now - BACKDATED);
    params.not_after = OffsetDateTime::from(now + LASTS);
    params
}

struct Len;

impl KeyType for Len {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

/// The key that follows from the secret (ECDSA on P-256, as with the incumbent).
fn key(secret: &SecretBytes, info: &[u8]) -> Result<KeyPair, AuthorityError> {
    let root = Salt::new(HKDF_SHA256, SALT).extract(secret.expose());
    // Of 2^32 numbers one is none of the curve's; then the next one is taken.
    for counter in 0..=u8::MAX {
        let mut scalar = Zeroizing::new([0; KEY_LEN]);
        root.expand(&[info, &[counter]], Len)
            .and_then(|expanded| expanded.fill(&mut *scalar))
            .expect("the length is one that HKDF-SHA256 can give");
        let der = Zeroizing::new([EC_KEY_HEAD, &*scalar, EC_KEY_TAIL].concat());
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, &der) else {
            continue;
        };
        let pkcs8 = pair
            .to_pkcs8v1()
            .map_err(failed("write a throw-away key"))?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_ref());
        return KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(failed("take a throw-away key"));
    }
    Err(failed("derive a throw-away key")("no number of the curve"))
}

fn failed<E: ToString>(attempted: &'static str) -> impl FnOnce(E) -> AuthorityError {
    move |error| AuthorityError::Crypto {
        attempted,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};
    use vmpool_core::{Attempt, OrderId};

    use super::*;
    use crate::Authority;

    fn throw_away(authority: &Authority, order: &str, attempt: u32) -> ThrowAway {
        let made = authority.throw_away(&OrderId::new(order), Attempt(attempt));
        made.expect("a throw-away CA")
    }

    fn takes(verifier: &ThrowAway, shown: &ThrowAway) -> bool {
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let verifier = verifier.verifier().expect("a verifier");
        let verified = verifier.verify_server_cert(&shown.agent, &[], &name, &[], UnixTime::now());
        verified.is_ok()
    }

    #[test]
    fn p1_the_keys_are_the_same_after_a_restart_and_the_certificates_go_together() {
        let authority = Authority::ephemeral().expect("an authority");
        let born_with = throw_away(&authority, "order-1", 1);
        let later = throw_away(&authority, "order-1", 1);
        assert_eq!(born_with.agent_key_pem, later.agent_key_pem);
        assert!(takes(&later, &born_with));
        assert!(takes(&born_with, &later));
    }

    #[test]
    fn p12_what_one_machine_holds_is_no_use_on_another() {
        let authority = Authority::ephemeral().expect("an authority");
        let machine = throw_away(&authority, "order-1", 1);
        let stranger = Authority::ephemeral().expect("an authority");
        for other in [
            throw_away(&authority, "order-2", 1),
            throw_away(&authority, "order-1", 2),
            throw_away(&stranger, "order-1", 1),
        ] {
            assert_ne!(machine.agent_key_pem, other.agent_key_pem);
            assert!(!takes(&machine, &other));
            assert!(!takes(&other, &machine));
        }
    }

    #[test]
    fn p11_no_debug_form_shows_the_key() {
        let authority = Authority::ephemeral().expect("an authority");
        let shown = format!("{:?}", throw_away(&authority, "order-1", 1));
        assert_eq!(shown, "ThrowAway { .. }");
    }
}
