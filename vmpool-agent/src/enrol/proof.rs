//! The agent's proof that it holds its order's secret.

use aws_lc_rs::hmac;
use vmpool_core::SecretBytes;
use vmpool_core::agent::enrolment::{EXPORTER_LEN, proof_message};

/// The proof is the order's HMAC of this connection and this request. Compared
/// in constant time.
pub(super) fn holds(
    secret: &SecretBytes,
    exporter: &[u8; EXPORTER_LEN],
    csr_der: &[u8],
    proof: &[u8],
) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    hmac::verify(&key, &proof_message(exporter, csr_der), proof).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &[u8], exporter: &[u8; EXPORTER_LEN], csr: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::sign(&key, &proof_message(exporter, csr))
            .as_ref()
            .to_vec()
    }

    #[test]
    fn p12_a_proof_holds_for_its_secret_connection_and_request_only() {
        let secret = SecretBytes::new(*b"secret");
        let proof = sign(b"secret", &[1; EXPORTER_LEN], b"csr");
        assert!(holds(&secret, &[1; EXPORTER_LEN], b"csr", &proof));
        assert!(
            !holds(&secret, &[2; EXPORTER_LEN], b"csr", &proof),
            "another connection"
        );
        assert!(
            !holds(&secret, &[1; EXPORTER_LEN], b"other", &proof),
            "another request"
        );
        assert!(!holds(
            &SecretBytes::new(*b"guess"),
            &[1; EXPORTER_LEN],
            b"csr",
            &proof
        ));
        assert!(
            !holds(&secret, &[1; EXPORTER_LEN], b"csr", &proof[..31]),
            "cut short"
        );
        assert!(!holds(&secret, &[1; EXPORTER_LEN], b"csr", b""), "none");
    }
}
