//! Who may speak to the agent: whoever shows a certificate of the deployment's
//! CA that is meant for clients and carries the name of its runners.
//!
//! The machines' own certificates are of the same CA; purpose and name are
//! what keeps a build step that steals one from acting as the runner.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::extensions::GeneralName;

use super::ListenerError;
use crate::identity::Identity;

/// Verifies runners' certificates.
#[derive(Debug)]
pub(super) struct Runners {
    chain: Arc<dyn ClientCertVerifier>,
    name: String,
}

impl Runners {
    pub(super) fn new(identity: &Identity, name: &str) -> Result<Self, ListenerError> {
        let chain =
            WebPkiClientVerifier::builder_with_provider(identity.roots(), identity.provider())
                .build()
                .map_err(|error| ListenerError::Tls {
                    reason: error.to_string(),
                })?;
        Ok(Self {
            chain,
            name: name.to_owned(),
        })
    }

    /// The library takes a certificate without a purpose for one of any
    /// purpose; here the purpose must be written in it.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), CertificateError> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| CertificateError::BadEncoding)?;
        let purpose = certificate
            .extended_key_usage()
            .map_err(|_| CertificateError::BadEncoding)?;
        if !purpose.is_some_and(|purpose| purpose.value.client_auth) {
            return Err(CertificateError::InvalidPurpose);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateError::BadEncoding)?;
        let ours = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(&self.name));
        if !names.is_some_and(|names| names.value.general_names.iter().any(ours)) {
            return Err(CertificateError::NotValidForName);
        }
        Ok(())
    }
}

impl ClientCertVerifier for Runners {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        self.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
