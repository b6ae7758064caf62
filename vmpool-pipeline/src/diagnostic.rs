//! What is wrong in a pipeline file, and where: one [`Diagnostic`] a finding.
//!
//! Printed as `FILE:LINE:COLUMN: PATH: MESSAGE`, which editors and terminals
//! turn into a link. Text that comes from the file goes through [`quoted`], so
//! that a hostile file can't send control characters to the terminal.

use std::fmt;

/// One finding in a pipeline file: an error or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// Where in the file; [`Place::UNKNOWN`] where the whole file is meant.
    pub place: Place,
    /// Which field, like `steps[0].commands`; empty where none is meant.
    pub path: String,
    /// What is wrong, and what to do where that is not plain: one line,
    /// lowercase, without a full stop.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.place != Place::UNKNOWN {
            write!(f, ":{}", self.place)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A place in a file: line and column, both counted in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// The line, from 1; 0 is unknown.
    pub line: u64,
    /// The column, from 1; 0 is unknown.
    pub column: u64,
}

impl Place {
    /// No place in particular.
    pub const UNKNOWN: Self = Self { line: 0, column: 0 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A file that can't be used: every error found in it, in the file's order,
/// and the warnings besides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.errors))]
pub struct Rejected {
    /// What must be changed; never empty.
    pub errors: Vec<Diagnostic>,
    /// What was noticed besides.
    pub warnings: Vec<Diagnostic>,
}

fn lines(errors: &[Diagnostic]) -> String {
    let lines: Vec<_> = errors.iter().map(Diagnostic::to_string).collect();
    lines.join("\n")
}

/// The findings of one file as they come in.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Report {
    /// More findings of a kind than this help nobody.
    const MOST: usize = 100;

    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: printable(file),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What was read, with the warnings; or all that was found, in the file's
    /// order. What was not read is nothing, and its errors were told.
    pub(crate) fn end<T>(mut self, read: Option<T>) -> Result<(T, Vec<Diagnostic>), Rejected> {
        self.errors.sort_by_key(|error| error.place);
        self.warnings.sort_by_key(|warning| warning.place);
        let (errors, warnings) = (self.errors, self.warnings);
        match read {
            Some(read) if errors.is_empty() => Ok((read, warnings)),
            _ => Err(Rejected { errors, warnings }),
        }
    }

    /// Whether further errors would not be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= Self::MOST
    }

    pub(crate) fn error(&mut self, place: Place, path: &str, message: impl Into<String>) {
        let found = self.diagnostic(place, path, &message.into());
        push(&mut self.errors, found);
    }

    pub(crate) fn warn(&mut self, place: Place, path: &str, message: impl Into<String>) {
        let found = self.diagnostic(place, path, &message.into());
        push(&mut self.warnings, found);
    }

    fn diagnostic(&self, place: Place, path: &str, message: &str) -> Diagnostic {
        Diagnostic {
            file: self.file.clone(),
            place,
            path: printable(path),
            message: printable(message),
        }
    }
}

/// Adds a finding once: an anchored node is met again at each of its aliases.
fn push(list: &mut Vec<Diagnostic>, found: Diagnostic) {
    let known = |other: &Diagnostic| other.place == found.place && other.message == found.message;
    if list.len() < Report::MOST && !list.iter().any(known) {
        list.push(found);
    }
}

/// The path of what a map at `path` has under `key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = plain(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// The longest excerpt of a file that a message repeats, in characters.
const EXCERPT: usize = 60;

/// Text of the file for a message: shortened, in backquotes, its control
/// characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", plain(text))
}

/// As [`quoted`], without the quotes.
pub(crate) fn plain(text: &str) -> String {
    let cut = text
        .char_indices()
        .nth(EXCERPT)
        .map_or(text.len(), |(at, _)| at);
    let mark = if cut < text.len() { "…" } else { "" };
    printable(&text[..cut]) + mark
}

/// Text with its control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, and those that turn the direction of the text round.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The end of a message that suggests a name, if there is one to suggest.
pub(crate) fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!(", did you mean {}?", quoted(name)))
        .unwrap_or_default()
}

/// The name among `known` that `given` was most likely meant to be.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // About a third of the name may differ, and nothing of a very short one.
    let most = (given.chars().count() / 3).min(3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(given, name), name))
        .filter(|&(distance, _)| distance <= most)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_file_place_path_and_message() {
        let mut found = Diagnostic {
            file: ".vmpool.yml".into(),
            place: Place {
                line: 4,
                column: 13,
            },
            path: "steps[0].commands".into(),
            message: "expected a list of strings, found a number".into(),
        };
        assert_eq!(
            found.to_string(),
            ".vmpool.yml:4:13: steps[0].commands: expected a list of strings, found a number"
        );
        found.place = Place::UNKNOWN;
        found.path.clear();
        assert_eq!(
            found.to_string(),
            ".vmpool.yml: expected a list of strings, found a number"
        );
    }

    #[test]
    fn text_of_the_file_reaches_a_message_without_control_characters() {
        assert_eq!(quoted("a\x1b[2Jb\u{202e}c"), "`a\\u{1b}[2Jb\\u{202e}c`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), EXCERPT + 3);
    }

    #[test]
    fn the_nearest_name_is_given_only_where_it_is_near() {
        let known = ["commands", "command", "environment", "when"];
        assert_eq!(nearest("comands", known), Some("commands"));
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("whne", known), Some("when"));
        assert_eq!(nearest("repo", known), None);
        assert_eq!(nearest("", known), None);
    }
}
