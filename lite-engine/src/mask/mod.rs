//! Hides secret values in a stream of bytes, however the stream is cut into writes.
//!
//! A [`Masker`] is fed chunk by chunk and gives back the same text with every
//! secret replaced by its [`Style`]'s mask. It knows nothing of files, pipes or
//! processes.
//!
//! ```text
//! bytes ─► values (Aho-Corasick over the whole stream) ─► expressions (line by line) ─► bytes
//! ```
//!
//! Invariants:
//! - The output does not depend on where the input was cut: it equals the
//!   whole text masked in one go, leftmost match first, the longest where
//!   several values begin at one place.
//! - A byte that may be the beginning of a secret is held back until the
//!   following bytes, or the end of the stream, decide. So a prompt that ends
//!   like a secret begins shows late, by a few characters; a secret printed
//!   one byte at a time shows nothing.
//! - No more than the longest pattern, less one byte, is ever held back for the
//!   values; for expressions, if there are any, no more than a line or 32 KiB.

mod expressions;
mod patterns;
mod spellings;
mod values;

use serde::{Deserialize, Serialize};

pub use expressions::Expressions;
use expressions::Lines;
use values::Values;

/// What stands in the output for a secret, whatever the secret's length.
pub const MASK: &[u8] = Style::Plain.mask();

/// What a secret is replaced with, and which lines of a value are secrets too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Six stars. Of a value with several lines each line of four or more
    /// characters is hidden too, because tools print keys line by line; shorter
    /// ones (`{`, `EOF`) would make every log unreadable.
    #[default]
    Plain,
    /// Fourteen stars, and lines from two characters on, as the incumbent's
    /// agent has it.
    Incumbent,
}

impl Style {
    /// What stands for a secret.
    pub const fn mask(self) -> &'static [u8] {
        match self {
            Self::Plain => b"******",
            Self::Incumbent => b"**************",
        }
    }

    /// A line of a value with several lines is hidden from this many characters on.
    const fn line_min(self) -> usize {
        match self {
            Self::Plain => 4,
            Self::Incumbent => 2,
        }
    }
}

/// What is to be hidden could not be made into a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// The values are too many.
    #[error("build the search for {count} patterns of secrets")]
    Values {
        /// The patterns: each value has several spellings.
        count: usize,
        /// What the search said.
        #[source]
        source: Box<aho_corasick::BuildError>,
    },
    /// An expression is not one, or too large.
    #[error("compile expression {number} of those that the log is cleaned of")]
    Expression {
        /// Its number in the list, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: Box<regex_automata::meta::BuildError>,
    },
    /// There are more expressions than are taken.
    #[error("compile {count} expressions that the log is cleaned of: more than {most}")]
    ManyExpressions {
        /// The expressions given.
        count: usize,
        /// The limit.
        most: usize,
    },
}

/// Masks one stream. What counts as a secret in the text is said at [`Masker::styled`].
#[derive(Debug)]
pub struct Masker {
    values: Values,
    expressions: Option<Lines>,
    /// What has passed the values and goes on to the expressions.
    between: Vec<u8>,
}

impl Masker {
    /// Hides these values in the plain style; see [`Masker::styled`].
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Result<Self, MaskError> {
        Self::styled(Style::Plain, values)
    }

    /// Hides these values, with surrounding white space taken off, and what the
    /// style says of their lines.
    ///
    /// Empty values and those of a single byte are not hidden: they keep
    /// nothing secret and would blank out the log. A value is hidden as it is
    /// and as it looks quoted for a shell, in JSON, in a URL and in base64, there at any
    /// place of a longer text and wrapped as `base64` and PEM files wrap it. Of a value
    /// that is a JSON document each longer string is hidden too.
    pub fn styled<V: AsRef<str>>(
        style: Style,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self, MaskError> {
        Ok(Self {
            values: Values::new(style, values)?,
            expressions: None,
            between: Vec::new(),
        })
    }

    /// Hides what these expressions match in a line, too, by the same mask.
    pub fn and_expressions(mut self, expressions: &Expressions) -> Self {
        let mask = self.values.style().mask();
        self.expressions = (!expressions.is_empty()).then(|| Lines::new(expressions, mask));
        self
    }

    /// Hides these values too, from the first byte on that was not yet given out.
    pub fn add<V: AsRef<str>>(
        &mut self,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), MaskError> {
        self.values.add(values)
    }

    /// Takes the next bytes of the stream and appends to `out` what is decided by now.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(expressions) = &mut self.expressions else {
            return self.values.push(chunk, out);
        };
        self.values.push(chunk, &mut self.between);
        expressions.push(&self.between, out);
        self.between.clear();
    }

    /// The stream is over: appends what was held back. The masker may then begin another stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Some(expressions) = &mut self.expressions else {
            return self.values.finish(out);
        };
        self.values.finish(&mut self.between);
        expressions.push(&self.between, out);
        expressions.finish(out);
        self.between.clear();
    }
}

#[cfg(test)]
mod tests;
