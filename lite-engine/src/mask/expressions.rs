//! Expressions that the log is cleaned of, line by line.
//!
//! They are RE2's, over bytes: `\d`, `\w`, `\s` and `(?i)` mean ASCII. A match
//! never goes over a line's end. A line of more than two reaches (32 KiB) is
//! looked at piece by piece, so that memory stays bounded and so that the
//! result does not depend on how it was cut into writes; a match in it that is
//! longer than a reach may be hidden in part only.

use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::MaskError;

/// A match of up to this many bytes is hidden in the longest line, too.
const REACH: usize = 16 * 1024;

/// No more expressions are taken.
const MOST: usize = 256;

/// What one expression may take when compiled, and all of them.
const SIZE_LIMIT: usize = 1024 * 1024;
const CACHE_LIMIT: usize = 1024 * 1024;

/// Compiled expressions; a clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Expressions {
    regex: Option<Arc<Regex>>,
}

impl Expressions {
    /// Compiles them. Where several match at one place the first of the list decides how far.
    pub fn new<E: AsRef<str>>(list: impl IntoIterator<Item = E>) -> Result<Self, MaskError> {
        let list: Vec<_> = list.into_iter().collect();
        if list.is_empty() {
            return Ok(Self::default());
        }
        if list.len() > MOST {
            return Err(MaskError::ManyExpressions {
                count: list.len(),
                most: MOST,
            });
        }
        let patterns: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
        let regex = compile(&patterns).map_err(|source| MaskError::Expression {
            number: source
                .pattern()
                .map_or(patterns.len(), |at| at.as_usize() + 1),
            source,
        })?;
        Ok(Self {
            regex: Some(Arc::new(regex)),
        })
    }

    /// Compiles a text with an expression a line; blank lines are none.
    pub fn of_lines(text: &str) -> Result<Self, MaskError> {
        let lines = text.lines().map(str::trim);
        Self::new(lines.filter(|line| !line.is_empty()))
    }

    /// Whether there is nothing to clean of.
    pub fn is_empty(&self) -> bool {
        self.regex.is_none()
    }
}

fn compile(patterns: &[&str]) -> Result<Regex, Box<regex_automata::meta::BuildError>> {
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE_LIMIT))
        .hybrid_cache_capacity(CACHE_LIMIT);
    Regex::builder()
        .configure(config)
        .syntax(
            syntax::Config::new()
                .unicode(false)
                .utf8(false)
                .nest_limit(100),
        )
        .build_many(patterns)
        .map_err(Box::new)
}

/// One stream, line by line.
pub(super) struct Lines {
    regex: Option<Arc<Regex>>,
    mask: &'static [u8],
    reach: usize,
    /// The beginning of a line, never two reaches long.
    held: Vec<u8>,
}

impl Lines {
    pub(super) fn new(expressions: &Expressions, mask: &'static [u8]) -> Self {
        Self::with_reach(expressions, mask, REACH)
    }

    pub(super) fn with_reach(expressions: &Expressions, mask: &'static [u8], reach: usize) -> Self {
        Self {
            regex: expressions.regex.clone(),
            mask,
            reach,
            held: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        while !text.is_empty() {
            let room = 2 * self.reach - self.held.len();
            let window = &text[..text.len().min(room)];
            let line_end = window.iter().position(|&byte| byte == b'\n');
            let (now, rest) = text.split_at(line_end.unwrap_or(window.len()));
            text = rest;
            if line_end.is_some() {
                if self.held.is_empty() {
                    self.hide(now, now.len(), out);
                } else {
                    self.held.extend_from_slice(now);
                    self.finish(out);
                }
                out.push(b'\n');
                text = &text[1..];
            } else {
                self.held.extend_from_slice(now);
                if self.held.len() == 2 * self.reach {
                    let held = std::mem::take(&mut self.held);
                    let decided = self.hide(&held, self.reach, out);
                    self.held = held;
                    self.held.drain(..decided);
                }
            }
        }
    }

    /// The line is over, or the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let mut held = std::mem::take(&mut self.held);
        self.hide(&held, held.len(), out);
        held.clear();
        self.held = held;
    }

    /// Appends `text` up to `until`, or to the end of a match that begins
    /// before; returns how far that is.
    fn hide(&self, text: &[u8], until: usize, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        if let Some(regex) = &self.regex {
            let matches = regex.find_iter(text).filter(|found| !found.is_empty());
            for found in matches.take_while(|found| found.start() < until) {
                out.extend_from_slice(&text[at..found.start()]);
                out.extend_from_slice(self.mask);
                at = found.end();
            }
        }
        let decided = until.max(at);
        out.extend_from_slice(&text[at..decided]);
        decided
    }
}

/// Shows no byte of the stream.
impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}
