//! How the runners of one deployment know each other: both ends of a
//! connection show a certificate of the deployment's CA under the name that
//! only runners have among themselves, made for both ends.
//!
//! Neither a machine's certificate (another name, servers only) nor the one
//! that a runner shows to agents (another name, clients only) will do; and no
//! agent obeys the certificate that peers show.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};

use crate::authority::{Authority, AuthorityError};
use crate::tls;

const ALPN: &[u8] = b"h2";

/// TLS 1.3 for the runner that is called, HTTP/2 on top. Its certificate is
/// renewed by itself.
///
/// # Errors
/// The library can't make a key, or a verifier of the CA.
pub fn peer_server(authority: &Arc<Authority>) -> Result<ServerConfig, AuthorityError> {
    authority.peer(SystemTime::now())?;
    let verifier = Peers::of(authority)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unmade(&error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Renewed(Arc::clone(authority))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The same for the runner that calls. It must ask for [`Authority::peer_name`],
/// wherever it connects to.
///
/// # Errors
/// The library can't make a key.
pub fn peer_client(authority: &Arc<Authority>) -> Result<ClientConfig, AuthorityError> {
    authority.peer(SystemTime::now())?;
    let mut config = ClientConfig::builder_with_provider(Arc::clone(tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unmade(&error))?
        .with_root_certificates(Arc::clone(authority.roots()))
        .with_client_cert_resolver(Arc::new(Renewed(Arc::clone(authority))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn unmade(error: &Error) -> AuthorityError {
    AuthorityError::Crypto {
        attempted: "prepare TLS between runners",
        reason: error.to_string(),
    }
}

/// This runner's certificate, as it is at each handshake.
#[derive(Debug)]
struct Renewed(Arc<Authority>);

impl Renewed {
    fn now(&self) -> Option<Arc<CertifiedKey>> {
        let made = self.0.peer(SystemTime::now());
        made.inspect_err(|error| {
            tracing::error!(%error, "no certificate for the other runners");
        })
        .ok()
    }
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now()
    }
}

impl ResolvesClientCert for Renewed {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.now()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes the certificates of the deployment's other runners.
#[derive(Debug)]
struct Peers {
    chain: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl Peers {
    fn of(authority: &Authority) -> Result<Self, AuthorityError> {
        let failed = |reason: String| AuthorityError::Crypto {
            attempted: "make a verifier of runners' certificates",
            reason,
        };
        let roots = Arc::clone(authority.roots());
        let provider = Arc::clone(tls::provider());
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let name = ServerName::try_from(authority.peer_name().to_owned());
        Ok(Self {
            chain: chain.map_err(|error| failed(error.to_string()))?,
            name: name.map_err(|error| failed(error.to_string()))?,
        })
    }
}

impl ClientCertVerifier for Peers {
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
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
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

#[cfg(test)]
mod tests;
