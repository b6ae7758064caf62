//! Ids of callers as names of files: whatever an id is, its name is one that
//! lies where it should, and two ids have two names.
//!
//! Letters, digits, `-`, `_` and dots that begin no part stay, all else is `%XX`. A name that
//! is longer than a file system takes goes on in a directory: each part but the
//! last ends with a single `%`, which no whole name does.

use std::fmt::Write as _;

/// The longest part of a name, in bytes; file systems take 255.
const LONGEST: usize = 200;

/// Of a byte as it stands in a name.
const LONGEST_LETTER: usize = "%XX".len();

/// The components of the path that stands for `id`, the last one with `ending`.
pub(super) fn components(id: &str, ending: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for byte in id.bytes() {
        if part.len() + LONGEST_LETTER > LONGEST {
            part.push('%');
            parts.push(std::mem::take(&mut part));
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => part.push(byte.into()),
            b'.' if !part.is_empty() => part.push('.'),
            _ => {
                // Writing to a string can't fail.
                let _ = write!(part, "%{byte:02X}");
            }
        }
    }
    part.push_str(ending);
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_ids_are_their_own_names() {
        assert_eq!(components("build-1.2_x", ".log"), ["build-1.2_x.log"]);
    }

    #[test]
    fn p13_no_id_leads_elsewhere() {
        assert_eq!(components("..", ""), ["%2E."]);
        assert_eq!(
            components("../../etc/passwd", ""),
            ["%2E.%2F..%2Fetc%2Fpasswd"]
        );
        assert_eq!(components("/", ""), ["%2F"]);
        assert_eq!(components(".hidden", ""), ["%2Ehidden"]);
    }

    #[test]
    fn a_long_id_is_cut_into_parts() {
        let parts = components(&"ä".repeat(128), ".log");
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.len() < 255));
        let (last, first) = parts.split_last().unwrap();
        assert!(first.iter().all(|part| part.ends_with('%')));
        assert_eq!(last.rsplit('.').next(), Some("log"));
    }

    proptest! {
        #[test]
        fn p13_names_are_safe_and_two_ids_never_share_one(
            ids in prop::collection::hash_set("[.%/a\u{e4} ]{1,6}|(a|\\.|%){190,256}", 2..20),
        ) {
            let mut seen = HashMap::new();
            for id in ids {
                let parts = components(&id, ".log");
                for part in &parts {
                    prop_assert!(!part.is_empty() && !part.starts_with('.'));
                    prop_assert!(!part.contains('/') && part.len() < 255);
                }
                if let Some(other) = seen.insert(parts, id.clone()) {
                    prop_assert_eq!(id, other);
                }
            }
        }
    }
}
