//! Values hidden in the whole stream, by one search for all of them at once.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::patterns::Patterns;
use super::{MaskError, Style};

/// The values of one stream, and what of it is undecided.
pub(super) struct Values {
    style: Style,
    search: Option<AhoCorasick>,
    patterns: Patterns,
    held: Vec<u8>,
}

impl Values {
    pub(super) fn new<V: AsRef<str>>(
        style: Style,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self, MaskError> {
        let patterns = Patterns::of(style, values);
        Ok(Self {
            style,
            search: build(&patterns)?,
            patterns,
            held: Vec::new(),
        })
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    pub(super) fn add<V: AsRef<str>>(
        &mut self,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), MaskError> {
        let patterns = self.patterns.and(Patterns::of(self.style, values));
        self.search = build(&patterns)?;
        self.patterns = patterns;
        Ok(())
    }

    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(search) = &self.search else {
            out.extend_from_slice(chunk);
            return;
        };
        let hide = Hide {
            search,
            patterns: &self.patterns,
            mask: self.style.mask(),
        };
        if self.held.is_empty() {
            let decided = hide.decided(chunk, out);
            self.held.extend_from_slice(&chunk[decided..]);
        } else {
            self.held.extend_from_slice(chunk);
            let decided = hide.decided(&self.held, out);
            self.held.drain(..decided);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(search) = &self.search {
            let mut at = 0;
            for found in search.find_iter(&self.held) {
                out.extend_from_slice(&self.held[at..found.start()]);
                out.extend_from_slice(self.style.mask());
                at = found.end();
            }
            out.extend_from_slice(&self.held[at..]);
        }
        self.held.clear();
    }

    /// Bytes that wait for those that follow.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

/// Shows how much is hidden, never what.
impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values")
            .field("patterns", &self.patterns.as_slice().len())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// A search where there is anything to search for.
fn build(patterns: &Patterns) -> Result<Option<AhoCorasick>, MaskError> {
    let patterns = patterns.as_slice();
    if patterns.is_empty() {
        return Ok(None);
    }
    // A full table of transitions is no faster here, and it takes several times
    // as long to build, which each step with output pays.
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(patterns)
        .map(Some)
        .map_err(|source| MaskError::Values {
            count: patterns.len(),
            source: Box::new(source),
        })
}

struct Hide<'a> {
    search: &'a AhoCorasick,
    patterns: &'a Patterns,
    mask: &'static [u8],
}

impl Hide<'_> {
    /// Appends the masked form of all of `text` that no later byte can change,
    /// and returns where the undecided rest begins.
    fn decided(&self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        let mut open = self.patterns.first_open(text, at);
        loop {
            match self.search.find(Input::new(text).span(at..text.len())) {
                // Nothing before this match is open and neither is its own start,
                // so no other match can come before it or be longer.
                Some(found) if found.start() < open => {
                    out.extend_from_slice(&text[at..found.start()]);
                    out.extend_from_slice(self.mask);
                    at = found.end();
                    if open < at {
                        open = self.patterns.first_open(text, at);
                    }
                }
                _ => {
                    out.extend_from_slice(&text[at..open]);
                    return open;
                }
            }
        }
    }
}
