//! Certificate requests (PKCS#10). All that is read from one is its key: what
//! name and purpose a certificate gets is not the machine's to say.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// A request that no certificate is made for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CsrError {
    #[error("it can't be read: {reason}")]
    Unreadable { reason: String },
    #[error("its signature is wrong")]
    Signature,
}

/// The key of a request that is signed with that key (SubjectPublicKeyInfo, DER).
pub(crate) fn key_of_csr(der: &[u8]) -> Result<Vec<u8>, CsrError> {
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|error| CsrError::Unreadable {
            reason: error.to_string(),
        })?;
    if !rest.is_empty() {
        return Err(CsrError::Unreadable {
            reason: "bytes behind its end".to_owned(),
        });
    }
    request
        .verify_signature()
        .map_err(|_| CsrError::Signature)?;
    Ok(request.certification_request_info.subject_pki.raw.to_vec())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    use super::*;

    fn request(key: &KeyPair) -> Vec<u8> {
        let request = CertificateParams::default().serialize_request(key);
        request.expect("a request").der().to_vec()
    }

    #[test]
    fn the_key_of_a_request_is_the_one_that_signed_it() {
        let key = KeyPair::generate().expect("a key");
        assert_eq!(
            key_of_csr(&request(&key)).expect("good"),
            key.subject_public_key_info()
        );
    }

    #[test]
    fn p12_a_request_with_another_key_put_in_is_refused() {
        let (ours, theirs) = (
            KeyPair::generate().expect("a key"),
            KeyPair::generate().expect("a key"),
        );
        let mut der = request(&ours);
        let ours = ours.subject_public_key_info();
        let at = der
            .windows(ours.len())
            .position(|part| part == ours)
            .expect("its key");
        der[at..at + ours.len()].copy_from_slice(&theirs.subject_public_key_info());
        assert!(matches!(key_of_csr(&der), Err(CsrError::Signature)));
    }

    #[test]
    fn p13_no_bytes_make_reading_a_request_panic() {
        let der = request(&KeyPair::generate().expect("a key"));
        for at in 0..der.len() {
            assert!(key_of_csr(&der[..at]).is_err(), "cut at {at}");
            let mut altered = der.clone();
            altered[at] ^= 0xff;
            assert!(key_of_csr(&altered).is_err(), "byte {at}");
        }
        assert!(
            key_of_csr(&[&der[..], &[0]].concat()).is_err(),
            "a byte more"
        );
    }
}
