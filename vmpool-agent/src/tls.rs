//! What this runner demands of the other end of a TLS connection.
//!
//! [`AnyKey`], to enrol: any certificate, as long as its key signed this very
//! handshake. [`ThisMachine`], for everything else: a certificate of the
//! deployment's CA, for this machine's name, under the key that was pinned.
//! There is no third way to make a connection to a machine of ours. One of the
//! incumbent's scheme is known by its throw-away CA: see [`crate::incumbent`].

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use vmpool_core::KeyHash;

/// The one cryptography that all connections share.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// A client's side of a connection: TLS 1.3, our certificate, one protocol, no
/// resumption.
pub(crate) fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    runner: Arc<CertifiedKey>,
    alpn: &[u8],
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(runner)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// The public key of a certificate (SubjectPublicKeyInfo, DER).
pub(crate) fn key_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?
        .subject_public_key_info()
        .to_vec())
}

/// What a key is pinned by.
pub(crate) fn hash(key: &[u8]) -> KeyHash {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
    KeyHash(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// When a certificate ends.
pub(crate) fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime, Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| CertificateError::BadEncoding)?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

/// Why [`ThisMachine`] refuses a certificate that is not merely broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not of the deployment's CA: the agent has not enrolled yet.
    #[error("the certificate is not of this deployment's CA")]
    NotEnrolled,
    /// It has another key than the pinned one.
    #[error("the agent's key is not the one that this machine enrolled with")]
    OtherKey,
}

impl Refusal {
    /// The refusal in what a failed handshake gave.
    pub(crate) fn find(error: &std::io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else {
            return None;
        };
        error.downcast_ref::<Self>().copied()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Takes any certificate whose key signed the handshake.
#[derive(Debug)]
pub(crate) struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_handshake(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Takes the certificate of one machine.
#[derive(Debug)]
pub(crate) struct ThisMachine {
    pub(crate) roots: Arc<RootCertStore>,
    /// The key that the machine enrolled with; `None` where only the CA knows it.
    pub(crate) pin: Option<KeyHash>,
}

impl ThisMachine {
    fn signed_by_ca(&self, leaf: &ParsedCertificate<'_>, now: UnixTime) -> Result<(), Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(leaf, &self.roots, &[], now, algorithms)
    }
}

impl ServerCertVerifier for ThisMachine {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        if self
            .pin
            .is_some_and(|pin| pin != hash(&leaf.subject_public_key_info()))
        {
            return Err(Refusal::OtherKey.into());
        }
        match self.signed_by_ca(&leaf, now) {
            Ok(()) => {}
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return Err(Refusal::NotEnrolled.into());
            }
            // Over, but of the pinned key: whoever connects may renew it and
            // do nothing more; `Dialled::expired` says so.
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) if self.pin.is_some() => {
                let end = end_of(end_entity)?.duration_since(SystemTime::UNIX_EPOCH);
                let end = UnixTime::since_unix_epoch(end.unwrap_or_default());
                self.signed_by_ca(&leaf, end)?;
            }
            Err(error) => return Err(error),
        }
        verify_server_name(&leaf, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed_handshake(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn signed_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

fn no_tls12() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}
