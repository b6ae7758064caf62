//! Output variables: what a step's shell is asked to write, and how the file is read.
//!
//! A step leaves outputs as lines `KEY=VALUE` in a file whose path it finds in
//! its environment ([`FILE_VARIABLE`]): by its own writing, or by text that
//! [`capture()`] puts around its command. [`parse`] reads such a file. Nothing
//! here touches a file or a process.
//!
//! The two dialects are those of godotenv, before and after its parser knew
//! values of several lines. They are read by hand because no library has
//! them: dotenvy, the kept one, has only the newer, refuses keys and comments
//! that godotenv takes, and puts the agent's own environment in place of
//! `$NAME`, which would hand it to the build. Here a `$` in a value is a `$`.
//!
//! Invariants:
//! - Any bytes are read or refused, in time linear to their number.
//! - An error names a line, and never shows what is in it: it may be a secret.

mod capture;
mod lines;
mod statements;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use capture::{Wanted, capture};

/// The variable in which a step finds the path of its output file.
pub const FILE_VARIABLE: &str = "DRONE_OUTPUT";

/// A value that begins so goes on in base64.
const ENCODED: &str = "__B64__";

/// How an output file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// A variable a line, no line longer than 64 KiB.
    #[default]
    Lines,
    /// Quoted values go over several lines, and no line is too long
    /// (`CI_NEW_VERSION_GODOTENV=true`). A file that can't be read so is read
    /// by lines.
    Statements,
}

/// An output file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A line is over its limit. The words are the incumbent's.
    #[error("output variable length is more than 65536 bytes")]
    LineTooLong {
        /// The line's number, from 1.
        line: usize,
    },
    /// A line has neither `=` nor `:`.
    #[error("line {line} of the output file is not of the form KEY=VALUE")]
    NoValue {
        /// The line's number, from 1.
        line: usize,
    },
    /// A value is said to be base64 and is not.
    #[error("output variable {key} is not valid base64")]
    Base64 {
        /// The variable.
        key: String,
    },
}

/// The variables of an output file, each once, in the order in which they
/// first appear; the last value counts. Bytes that are not UTF-8 are replaced.
pub fn parse(bytes: &[u8], dialect: Dialect) -> Result<Vec<(String, String)>, OutputError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let read = match dialect {
        Dialect::Lines => lines::read(text)?,
        Dialect::Statements => match statements::read(text) {
            Some(read) => read,
            None => lines::read(text)?,
        },
    };
    let mut places = std::collections::HashMap::new();
    let mut variables: Vec<(String, String)> = Vec::new();
    for (key, value) in read {
        let value = decoded(&key, value)?;
        if let Some(&place) = places.get(&key) {
            let (_, earlier): &mut (String, String) = &mut variables[place];
            *earlier = value;
        } else {
            places.insert(key.clone(), variables.len());
            variables.push((key, value));
        }
    }
    Ok(variables)
}

fn decoded(key: &str, value: String) -> Result<String, OutputError> {
    let Some(encoded) = value.strip_prefix(ENCODED) else {
        return Ok(value);
    };
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| OutputError::Base64 { key: key.into() })?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(bytes) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
    })
}

/// What stands for something else between double quotes: `\n`, `\r`, and any
/// other character after a backslash for itself.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (plain, false) => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests;
