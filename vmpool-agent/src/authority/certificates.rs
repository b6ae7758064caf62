//! The certificates that a deployment has: its CA's, runners' and machines'.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::{AuthorityError, crypto};
use crate::tls;

/// How far back certificates reach: the clock of a machine that boots may be
/// behind.
const BACKDATED: Duration = Duration::from_hours(24);

/// How long a deployment's CA is good for.
const CA_LIFE: Duration = Duration::from_hours(20 * 365 * 24);

/// A CA that signs leaves and no further CA.
pub(super) fn ca(
    key: &KeyPair,
    deployment: &str,
    now: SystemTime,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut parameters = named(
        &format!("vmpool deployment {deployment}"),
        now,
        now + CA_LIFE,
    );
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = parameters
        .self_signed(key)
        .map_err(|error| crypto("sign the CA's certificate", &error))?;
    Ok(certificate.der().clone())
}

/// A fresh key and certificate for a runner.
pub(super) fn runner(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    purposes: &[ExtendedKeyUsagePurpose],
    now: SystemTime,
    end: SystemTime,
) -> Result<Arc<CertifiedKey>, AuthorityError> {
    let failed = |error: rcgen::Error| crypto("make the runner's certificate", &error);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = leaf(name, purposes, now, end)
        .and_then(|parameters| parameters.signed_by(&key, issuer))
        .map_err(failed)?;
    let signing = tls::provider()
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .map_err(|error| crypto("load the runner's key", &error))?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.der().clone()],
        signing,
    )))
}

/// A certificate for a machine's own key (SubjectPublicKeyInfo, DER).
pub(super) fn machine(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    key: &[u8],
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let failed = |error: rcgen::Error| crypto("sign a machine's certificate", &error);
    let key = SubjectPublicKeyInfo::from_der(key).map_err(failed)?;
    let certificate = leaf(name, &[ExtendedKeyUsagePurpose::ServerAuth], now, end)
        .and_then(|parameters| parameters.signed_by(&key, issuer))
        .map_err(failed)?;
    Ok(certificate.der().clone())
}

fn leaf(
    name: &str,
    purposes: &[ExtendedKeyUsagePurpose],
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = named(name, now, end);
    parameters.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into()?)];
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = purposes.to_vec();
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn named(name: &str, now: SystemTime, end: SystemTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = OffsetDateTime::from(now - BACKDATED);
    parameters.not_after = OffsetDateTime::from(end);
    parameters
}
