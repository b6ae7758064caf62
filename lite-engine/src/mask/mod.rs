//! Hides secret values in a stream of bytes, however the stream is cut into writes.
//!
//! A [`Masker`] is fed chunk by chunk and gives back the same text with every
//! secret replaced by [`MASK`]. It knows nothing of files, pipes or processes.
//!
//! Invariants:
//! - The output does not depend on where the input was cut: it equals the
//!   whole text masked in one go, leftmost match first, the longest where
//!   several begin at one place.
//! - A byte that may be the beginning of a secret is held back until the
//!   following bytes, or the end of the stream, decide. So a prompt that ends
//!   like a secret begins shows late, by a few characters; a secret printed
//!   one byte at a time shows nothing.
//! - No more than the longest pattern, less one byte, is ever held back.

mod patterns;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use patterns::Patterns;

/// What stands in the output for a secret, whatever the secret's length.
pub const MASK: &[u8] = b"******";

/// Patterns of more bytes than this in all are matched by the slower automaton
/// that needs a few bytes a state, instead of a full table of transitions.
const TABLE_LIMIT: usize = 8 * 1024;

/// The secrets of a step could not be made into a search.
#[derive(Debug, thiserror::Error)]
#[error("build the search for {count} secrets")]
pub struct MaskError {
    count: usize,
    #[source]
    source: aho_corasick::BuildError,
}

/// Masks one stream. What counts as a secret in the text is said at [`Masker::new`].
pub struct Masker {
    search: Option<AhoCorasick>,
    patterns: Patterns,
    held: Vec<u8>,
}

impl Masker {
    /// Hides these values, with surrounding white space taken off.
    ///
    /// Of a value with several lines each line of four or more characters is
    /// hidden too, because tools print keys line by line; shorter ones (`{`,
    /// `EOF`) would make every log unreadable. Empty values and those of a
    /// single character are not hidden: they keep nothing secret and would
    /// blank out the log.
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Result<Self, MaskError> {
        let patterns = Patterns::of(values);
        let search = if patterns.is_empty() {
            None
        } else {
            Some(build(&patterns)?)
        };
        Ok(Self {
            search,
            patterns,
            held: Vec::new(),
        })
    }

    /// Takes the next bytes of the stream and appends to `out` what is decided by now.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(search) = &self.search else {
            out.extend_from_slice(chunk);
            return;
        };
        if self.held.is_empty() {
            let decided = mask_decided(search, &self.patterns, chunk, out);
            self.held.extend_from_slice(&chunk[decided..]);
        } else {
            self.held.extend_from_slice(chunk);
            let decided = mask_decided(search, &self.patterns, &self.held, out);
            self.held.drain(..decided);
        }
    }

    /// The stream is over: appends what was held back. The masker may then begin another stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(search) = &self.search {
            let mut at = 0;
            for found in search.find_iter(&self.held) {
                out.extend_from_slice(&self.held[at..found.start()]);
                out.extend_from_slice(MASK);
                at = found.end();
            }
            out.extend_from_slice(&self.held[at..]);
        }
        self.held.clear();
    }
}

/// Shows how much is hidden, never what.
impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker")
            .field("patterns", &self.patterns.as_slice().len())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

fn build(patterns: &Patterns) -> Result<AhoCorasick, MaskError> {
    let bytes: usize = patterns.as_slice().iter().map(Vec::len).sum();
    let kind = if bytes <= TABLE_LIMIT {
        AhoCorasickKind::DFA
    } else {
        AhoCorasickKind::ContiguousNFA
    };
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(kind))
        .build(patterns.as_slice())
        .map_err(|source| MaskError {
            count: patterns.as_slice().len(),
            source,
        })
}

/// Appends the masked form of all of `text` that no later byte can change, and
/// returns where the undecided rest begins.
fn mask_decided(
    search: &AhoCorasick,
    patterns: &Patterns,
    text: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let mut at = 0;
    let mut open = patterns.first_open(text, at);
    loop {
        match search.find(Input::new(text).span(at..text.len())) {
            // Nothing before this match is open and neither is its own start,
            // so no other match can come before it or be longer.
            Some(found) if found.start() < open => {
                out.extend_from_slice(&text[at..found.start()]);
                out.extend_from_slice(MASK);
                at = found.end();
                if open < at {
                    open = patterns.first_open(text, at);
                }
            }
            _ => {
                out.extend_from_slice(&text[at..open]);
                return open;
            }
        }
    }
}

#[cfg(test)]
mod tests;
