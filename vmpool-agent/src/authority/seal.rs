//! What is derived from the enrolment key (HKDF-SHA256): an enrolment secret
//! for each order, a key that seals requests (AES-256-GCM), and one that hashes
//! what stages and steps ask for (HMAC-SHA256).
//!
//! Sealed bytes are: a version byte, the random nonce, the ciphertext with its
//! tag. The order and its attempt are authenticated along, so that no sealed
//! request can be passed off as another order's.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use vmpool_core::agent::enrolment::secret_info;
use vmpool_core::pool::RequestHash;
use vmpool_core::{Attempt, OrderId, SecretBytes};
use zeroize::Zeroizing;

/// Bytes of the enrolment key and of each key made from it.
pub(super) const KEY_LEN: usize = 32;

const VERSION: u8 = 1;

/// Keeps enrolment keys of this use apart from all others.
const SALT: &[u8] = b"vmpool enrolment key v1";
const SEALING_INFO: &[u8] = b"vmpool sealing key";
const HASHING_INFO: &[u8] = b"vmpool hashing key";

pub(super) struct Derived {
    root: Prk,
    sealing: RandomizedNonceKey,
    hashing: hmac::Key,
}

struct Len;

impl KeyType for Len {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

impl Derived {
    pub(super) fn of(enrolment_key: &[u8; KEY_LEN]) -> Self {
        let root = Salt::new(HKDF_SHA256, SALT).extract(enrolment_key);
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &*expand(&root, SEALING_INFO))
            .expect("the key has the algorithm's length");
        let hashing = hmac::Key::new(hmac::HMAC_SHA256, &*expand(&root, HASHING_INFO));
        Self {
            root,
            sealing,
            hashing,
        }
    }

    pub(super) fn secret(&self, order: &OrderId, attempt: Attempt) -> SecretBytes {
        SecretBytes::new(expand(&self.root, &secret_info(order, attempt)).to_vec())
    }

    pub(super) fn seal(&self, order: &OrderId, attempt: Attempt, request: &[u8]) -> Arc<[u8]> {
        let mut text = request.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(bound_to(order, attempt), &mut text)
            .expect("a request is far below the algorithm's 64 GiB");
        [&[VERSION], nonce.as_ref().as_slice(), &text]
            .concat()
            .into()
    }

    pub(super) fn hash(&self, content: &[u8]) -> RequestHash {
        let tag = hmac::sign(&self.hashing, content);
        RequestHash(
            *tag.as_ref()
                .first_chunk()
                .expect("HMAC-SHA256 gives 32 bytes"),
        )
    }

    pub(super) fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Option<SecretBytes> {
        let (nonce, text) = sealed
            .strip_prefix(&[VERSION])?
            .split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut text = Zeroizing::new(text.to_vec());
        let plain = self
            .sealing
            .open_in_place(nonce, bound_to(order, attempt), &mut text)
            .ok()?;
        Some(SecretBytes::new(&*plain))
    }
}

fn expand(root: &Prk, info: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    root.expand(&[info], Len)
        .and_then(|expanded| expanded.fill(&mut *key))
        .expect("the length is one that HKDF-SHA256 can give");
    key
}

/// The order's length comes first: no two pairs give the same bytes.
fn bound_to(order: &OrderId, attempt: Attempt) -> Aad<Vec<u8>> {
    let order = order.as_str().as_bytes();
    let length = (order.len() as u64).to_be_bytes();
    Aad::from([&length, order, attempt.0.to_be_bytes().as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> OrderId {
        OrderId::new("order-1")
    }

    #[test]
    fn a_secret_is_the_same_after_a_restart_and_differs_by_order_attempt_and_key() {
        let secret = Derived::of(&[7; KEY_LEN]).secret(&order(), Attempt(1));
        assert_eq!(
            secret,
            Derived::of(&[7; KEY_LEN]).secret(&order(), Attempt(1))
        );
        assert_ne!(
            secret,
            Derived::of(&[7; KEY_LEN]).secret(&order(), Attempt(2))
        );
        assert_ne!(
            secret,
            Derived::of(&[7; KEY_LEN]).secret(&OrderId::new("other"), Attempt(1))
        );
        assert_ne!(
            secret,
            Derived::of(&[8; KEY_LEN]).secret(&order(), Attempt(1))
        );
    }

    #[test]
    fn p1_a_sealed_request_opens_after_a_restart_and_hides_its_text() {
        let text = b"user data with a secret in it";
        let sealed = Derived::of(&[7; KEY_LEN]).seal(&order(), Attempt(1), text);
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let opened = Derived::of(&[7; KEY_LEN]).unseal(&order(), Attempt(1), &sealed);
        assert_eq!(opened.expect("the same key").expose(), text);
    }

    #[test]
    fn p5_a_hash_is_the_same_after_a_restart_and_another_without_the_key() {
        let hash = Derived::of(&[7; KEY_LEN]).hash(b"make test");
        assert_eq!(hash, Derived::of(&[7; KEY_LEN]).hash(b"make test"));
        assert_ne!(hash, Derived::of(&[7; KEY_LEN]).hash(b"make all"));
        assert_ne!(hash, Derived::of(&[8; KEY_LEN]).hash(b"make test"));
    }

    #[test]
    fn p11_nothing_but_the_very_request_unseals() {
        let derived = Derived::of(&[7; KEY_LEN]);
        let sealed = derived.seal(&order(), Attempt(1), b"request");
        assert_ne!(
            sealed,
            derived.seal(&order(), Attempt(1), b"request"),
            "the nonce is random"
        );
        assert!(
            derived.unseal(&order(), Attempt(2), &sealed).is_none(),
            "another attempt"
        );
        assert!(
            derived
                .unseal(&OrderId::new("order-2"), Attempt(1), &sealed)
                .is_none()
        );
        assert!(
            Derived::of(&[8; KEY_LEN])
                .unseal(&order(), Attempt(1), &sealed)
                .is_none()
        );
        for at in 0..sealed.len() {
            let mut altered = sealed.to_vec();
            altered[at] ^= 1;
            assert!(
                derived.unseal(&order(), Attempt(1), &altered).is_none(),
                "byte {at}"
            );
            assert!(
                derived
                    .unseal(&order(), Attempt(1), &sealed[..at])
                    .is_none(),
                "cut at {at}"
            );
        }
    }
}
