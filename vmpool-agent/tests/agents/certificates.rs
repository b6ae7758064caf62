//! Every certificate that a test may want: the CA's key is read from the
//! deployment's file, as nobody but its runners can.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PublicKeyData, SanType,
    SubjectPublicKeyInfo,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The deployment's CA, with its key.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Ca {
    pub(crate) fn read(trust: &Path) -> Self {
        let text = std::fs::read(trust.join("trust.pem")).expect("the deployment's file");
        let sections = pem::parse_many(text).expect("PEM");
        let section = |tag: &str| {
            let section = sections.iter().find(|section| section.tag() == tag);
            section.expect("the section").contents()
        };
        let key = KeyPair::try_from(section("PRIVATE KEY")).expect("the CA's key");
        let certificate = CertificateDer::from(section("CERTIFICATE").to_vec());
        Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key).expect("the CA"),
        }
    }

    pub(crate) fn another() -> Self {
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: Issuer::new(CertificateParams::default(), key),
        }
    }

    /// A certificate for a fresh key.
    pub(crate) fn issue(&self, name: &str, purposes: &[ExtendedKeyUsagePurpose]) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.sign(&parameters(name, purposes), &key);
        Pair {
            certificate,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// What the deployment's own runners have.
    pub(crate) fn runner(&self, name: &str) -> Pair {
        self.issue(name, &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// What one of them had until an hour ago.
    pub(crate) fn expired(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = parameters(name, &[ExtendedKeyUsagePurpose::ClientAuth]);
        let end = SystemTime::now() - Duration::from_hours(1);
        parameters.not_before = (end - Duration::from_hours(24)).into();
        parameters.not_after = end.into();
        Pair {
            certificate: self.sign(&parameters, &key),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// A machine's certificate for a given key (SubjectPublicKeyInfo, DER).
    pub(crate) fn machine(&self, name: &str, key: &[u8], end: SystemTime) -> Vec<u8> {
        let mut parameters = parameters(name, &[ExtendedKeyUsagePurpose::ServerAuth]);
        parameters.not_before = (end - Duration::from_hours(7 * 24)).into();
        parameters.not_after = end.into();
        let key = SubjectPublicKeyInfo::from_der(key).expect("a key");
        self.sign(&parameters, &key).to_vec()
    }

    fn sign(
        &self,
        parameters: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> CertificateDer<'static> {
        parameters
            .signed_by(key, &self.issuer)
            .expect("a certificate")
            .der()
            .clone()
    }
}

fn parameters(name: &str, purposes: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
    parameters.extended_key_usages = purposes.to_vec();
    parameters
}

impl Pair {
    /// From the files that an agent keeps.
    pub(crate) fn stolen_from(identity: &Path) -> Self {
        let read = |name: &str| {
            let text = std::fs::read(identity.join(name)).expect("the agent's file");
            pem::parse(text).expect("PEM").into_contents()
        };
        Self {
            certificate: CertificateDer::from(read("certificate.pem")),
            key: PrivatePkcs8KeyDer::from(read("key.pem")).into(),
        }
    }
}

/// A client that trusts everybody.
pub(crate) fn client(pair: Option<&Pair>, alpn: &[&[u8]]) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match pair {
        Some(pair) => config
            .with_client_auth_cert(vec![pair.certificate.clone()], pair.key.clone_key())
            .expect("a pair"),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
