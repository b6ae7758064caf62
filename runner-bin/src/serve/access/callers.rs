//! The file that says who may ask: callers with their tokens, the pools that
//! they may use, and how much they may ask for.
//!
//! ```yaml
//! callers:
//!   - name: delegate-eu               # as logs and messages call it
//!     tokens_sha256: [9f86d0…]        # or tokens: [in the clear], or both; more than one
//!                                     # while a token is changed for another
//!     certificate: ci.example.com     # or by a client certificate of this name
//!     pools: [linux]                  # all, where it is left out
//!     stages: 40                      # at once, in all pools
//!     stages_per_pool: 20
//!     requests_per_second: 200
//! ```
//! Invariants: no token is kept in the clear, and no message shows a value of
//! the file but the names of callers and pools (P11). A file is taken as a
//! whole, or not at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::Deserialize;
use serde_saphyr::Error as YamlError;
use vmpool_core::PoolName;
use zeroize::Zeroizing;

use super::caller::{Known, Limits};

/// The largest file, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// How deep it may nest; it needs three.
const DEPTH: usize = 8;

/// The shortest token that nobody guesses, if it is random.
const SHORTEST_TOKEN: usize = 16;

/// The longest name of a caller.
const LONGEST_NAME: usize = 64;

/// Why a file of callers is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallersError {
    #[error("the file of callers is larger than {} KiB", MOST_BYTES >> 10)]
    TooLarge,
    #[error("{line}:{column}: {why}")]
    Unreadable { line: u64, column: u64, why: String },
    #[error("callers[{index}]{}: {why}", Named(name))]
    Caller {
        index: usize,
        name: String,
        why: String,
    },
    #[error("callers: the file names nobody, so nobody could ask")]
    Nobody,
}

/// As a message names a caller whose name can be shown.
struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            name => write!(f, " ({name})"),
        }
    }
}

/// Who may ask.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    /// All of them are compared with, whichever it is.
    tokens: Vec<(TokenHash, Arc<Known>)>,
    certificates: HashMap<String, Arc<Known>>,
    names: HashMap<String, Arc<Known>>,
}

/// SHA-256 of a token.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenHash([u8; SHA256_OUTPUT_LEN]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(hash)
    }
}

/// A token as it is in the file, no longer than the file is read.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Token(Zeroizing<String>);

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    callers: Vec<CallerOfFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerOfFile {
    name: String,
    #[serde(default)]
    tokens: Vec<Token>,
    #[serde(default)]
    tokens_sha256: Vec<String>,
    certificate: Option<String>,
    pools: Option<Vec<String>>,
    stages: Option<NonZeroU32>,
    stages_per_pool: Option<NonZeroU32>,
    requests_per_second: Option<NonZeroU32>,
}

impl Callers {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It can't be used; says what is wrong, and where.
    pub(crate) fn read(text: &[u8]) -> Result<Self, CallersError> {
        if text.len() > MOST_BYTES {
            return Err(CallersError::TooLarge);
        }
        let text = std::str::from_utf8(text).map_err(|_| CallersError::Unreadable {
            line: 1,
            column: 1,
            why: "it is not UTF-8".to_owned(),
        })?;
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! {
                max_depth: DEPTH,
                flow_nesting_limit: DEPTH,
                max_total_scalar_bytes: MOST_BYTES,
                max_aliases: 0,
            },
        };
        let file: File = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| unreadable(&error))?;
        if file.callers.is_empty() {
            return Err(CallersError::Nobody);
        }
        let mut callers = Self::default();
        for (index, caller) in file.callers.into_iter().enumerate() {
            let name = if is_name(&caller.name) {
                caller.name.clone()
            } else {
                String::new()
            };
            let added = callers.add(caller);
            added.map_err(|why| CallersError::Caller { index, name, why })?;
        }
        Ok(callers)
    }

    /// Whose token it is. Takes as long whichever of them it is, or none.
    pub(crate) fn by_token(&self, token: &[u8]) -> Option<&Arc<Known>> {
        let hash = TokenHash::of(token);
        let mut found = None;
        for (known, caller) in &self.tokens {
            if verify_slices_are_equal(&known.0, &hash.0).is_ok() {
                found = Some(caller);
            }
        }
        found
    }

    /// Whose certificate has this name.
    pub(crate) fn by_certificate(&self, name: &str) -> Option<&Arc<Known>> {
        self.certificates.get(name)
    }

    /// The caller of this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Known>> {
        self.names.get(name)
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    fn add(&mut self, caller: CallerOfFile) -> Result<(), String> {
        if !is_name(&caller.name) {
            return Err(format!(
                "name: up to {LONGEST_NAME} letters, digits, and any of . _ - @ : /"
            ));
        }
        let tokens = caller.tokens.iter().enumerate().map(|(at, token)| {
            if token.0.len() < SHORTEST_TOKEN {
                Err(format!(
                    "tokens[{at}]: it is shorter than {SHORTEST_TOKEN} bytes, and could be guessed"
                ))
            } else {
                Ok(TokenHash::of(token.0.as_bytes()))
            }
        });
        let hashes = caller.tokens_sha256.iter().enumerate().map(|(at, text)| {
            from_hex(text).ok_or_else(|| format!("tokens_sha256[{at}]: it is not 64 hex digits"))
        });
        let tokens: Vec<_> = tokens.chain(hashes).collect::<Result<_, String>>()?;
        if tokens.is_empty() && caller.certificate.is_none() {
            return Err("it has none of tokens, tokens_sha256 and certificate".to_owned());
        }
        let pools = caller.pools.map(|pools| {
            let pools = pools.iter().enumerate().map(|(at, pool)| {
                PoolName::parse(pool).map_err(|error| format!("pools[{at}]: {error}"))
            });
            pools.collect::<Result<Vec<_>, _>>()
        });
        let limits = Limits {
            stages: caller.stages,
            stages_per_pool: caller.stages_per_pool,
            requests_per_second: caller.requests_per_second,
        };
        let known = Arc::new(Known::new(caller.name.clone(), pools.transpose()?, limits));
        for (at, token) in tokens.into_iter().enumerate() {
            if self.tokens.iter().any(|(other, _)| *other == token) {
                return Err(format!("its token {at} is there already"));
            }
            self.tokens.push((token, Arc::clone(&known)));
        }
        if let Some(name) = caller.certificate {
            match self.certificates.entry(name) {
                Entry::Occupied(_) => {
                    return Err("certificate: another caller has it already".to_owned());
                }
                Entry::Vacant(entry) => entry.insert(Arc::clone(&known)),
            };
        }
        match self.names.entry(caller.name) {
            Entry::Occupied(_) => Err("name: another caller has it already".to_owned()),
            Entry::Vacant(entry) => {
                entry.insert(known);
                Ok(())
            }
        }
    }
}

/// A name that can be shown anywhere.
fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@:/".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(good)
}

fn from_hex(text: &str) -> Option<TokenHash> {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    text.bytes()
        .all(|c| c.is_ascii_hexdigit())
        .then_some(TokenHash(hash))
}

/// What is wrong, without any value of the file.
fn unreadable(error: &YamlError) -> CallersError {
    let (line, column) = error
        .location()
        .map_or((0, 0), |at| (at.line(), at.column()));
    let why = match error {
        YamlError::SerdeInvalidType { expected, .. }
        | YamlError::SerdeInvalidValue { expected, .. } => format!("here is to be {expected}"),
        YamlError::SerdeUnknownField { expected, .. } => {
            format!("there is no such field; there are {}", expected.join(", "))
        }
        YamlError::SerdeMissingField { field, .. } => format!("the field {field} is missing"),
        _ => "it can't be read as YAML, or is no list of callers".to_owned(),
    };
    CallersError::Unreadable { line, column, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-some-length";

    fn hash() -> String {
        crate::hex::hex(digest(&SHA256, TOKEN.as_bytes()).as_ref())
    }

    #[test]
    fn a_token_is_found_by_itself_or_by_its_hash() {
        for tokens in [
            format!("tokens: [{TOKEN}]"),
            format!("tokens_sha256: [{}]", hash()),
        ] {
            let text = format!(
                "callers:\n- name: other\n  tokens: [another-token-of-it]\n- name: ci\n  \
                 {tokens}\n  pools: [linux]\n  stages: 2\n"
            );
            let callers = Callers::read(text.as_bytes()).unwrap();
            let found = callers.by_token(TOKEN.as_bytes()).unwrap();
            assert_eq!(found.name, "ci");
            assert_eq!(found.limits.stages, NonZeroU32::new(2));
            for none in ["", "a-token-of-some-lengtH", &hash()] {
                assert!(callers.by_token(none.as_bytes()).is_none(), "{none}");
            }
            assert!(!format!("{callers:?}").contains(TOKEN), "P11");
        }
    }

    #[test]
    fn p13_what_is_wrong_in_the_file_is_told_with_its_place() {
        for (text, told) in [
            ("", "1:1: "),
            ("callers: []", "names nobody"),
            ("callers:\n- name: ci\n", "callers[0] (ci): it has none of"),
            (
                "callers:\n- name: ci\n  token: x\n",
                "there is no such field; there are name, tokens,",
            ),
            (
                "callers:\n- name: ci\n  tokens: [short]\n",
                "callers[0] (ci): tokens[0]: it is shorter than 16 bytes",
            ),
            (
                "callers:\n- name: ci\n  tokens_sha256: [abc]\n",
                "tokens_sha256[0]: it is not 64 hex digits",
            ),
            (
                "callers:\n- {name: a, certificate: x}\n- {name: b, certificate: x}\n",
                "callers[1] (b): certificate: another caller has it",
            ),
            (
                "callers:\n- {name: a, certificate: x}\n- {name: a, certificate: y}\n",
                "callers[1] (a): name: another caller has it",
            ),
            (
                "callers:\n- {name: a, certificate: x, stages: 0}\n",
                "2:29: here is to be a nonzero u32",
            ),
            (
                "callers:\n- {name: a b, certificate: x}\n",
                "callers[0]: name: up to 64",
            ),
        ] {
            let error = Callers::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn p11_no_message_shows_a_token_wherever_it_stands() {
        let secret = "SeCrEt0123456789abcdef";
        for text in [
            format!("callers:\n- name: ci\n  tokens: {secret}\n"),
            format!("callers:\n- {secret}\n"),
            format!("callers: {secret}\n"),
            format!("callers:\n- {secret}: x\n"),
            format!("callers:\n- name: ci\n  tokens: [{secret}, {secret}]\n"),
            format!("callers:\n- name: ci\n  tokens_sha256: [{secret}]\n"),
            format!("callers:\n- name: ci\n  stages: {secret}\n"),
            format!("callers:\n- name: ci\n  tokens: [\"{secret}\n"),
            format!("callers:\n- name: ci\n  tokens: [{{{secret}: 1}}]\n"),
            format!("callers:\n- name: ci\n  {secret}: {secret}\n  {secret}: 1\n"),
            format!("callers:\n- name: ci\n  tokens: [*{secret}]\n"),
            format!("callers:\n- name: ci\n  tokens: !{secret} [x]\n"),
        ] {
            let error = Callers::read(text.as_bytes()).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(!told.contains(secret), "{text}: {told}");
        }
    }
}
