//! A number that stands for some values: the same on every host, in every version.

use aws_lc_rs::digest::{Context, SHA256};

/// The first 64 bits of a SHA-256 over the parts, each behind its length.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_a_hash_never_changes_and_tells_where_a_part_ends() {
        assert_eq!(hash(&[b"order", b"1"]), 0x7776_ab0c_42fd_b564);
        assert_ne!(hash(&[b"order", b"1"]), hash(&[b"order1", b""]));
    }
}
