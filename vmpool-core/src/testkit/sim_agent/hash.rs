//! A hash for simulations.

/// FNV-1a of the parts behind their lengths. Tells contents apart, hides nothing.
pub(super) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash ^= u128::from(*byte);
            hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for part in parts {
        take(&(part.len() as u64).to_be_bytes());
        take(part);
    }
    hash.to_be_bytes()
}
