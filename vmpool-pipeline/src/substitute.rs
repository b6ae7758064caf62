//! `${DRONE_…}` expressions: the build's variables put into the file's text.
//!
//! Drone evaluates the expressions in the raw text before it parses the YAML,
//! so a branch name or a commit message can change the file's structure. Here
//! they are found in the raw text too, so that the same files work
//! (`tags: [${DRONE_TAG}]`, `"${DRONE_BRANCH//\\//-}"`), but a value is put in
//! only after the parsing, and can never be anything but text:
//!
//! 1. [`mask`] replaces each expression by a mark as long as itself, made of
//!    private-use characters, so that YAML reads a plain word and every place
//!    in the file stays what it was;
//! 2. [`Substitution::resolve`] puts the values where the marks ended up.
//!
//! As in Drone an unset variable is empty, `$$` is a dollar sign (so `$${X}` is
//! the shell's `${X}`), and `$X` is left to the shell.
//!
//! What the expressions may cost is bounded: bashexpand's patterns take time
//! quadratic in the value, and replacements can multiply its length.

mod expression;

use std::collections::BTreeMap;

use self::expression::{Evaluated, Refused, Work, evaluate};
use crate::diagnostic::{Place, Report, join, quoted};
use crate::model::ScalarKind;
use crate::yaml::{Node, Value};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// How many expressions a file may have; below the number of characters from
/// `FIRST_MARK` on.
const MAX_EXPRESSIONS: usize = 10_000;
/// How much text all values may add to a file, in bytes.
const MAX_ADDED: usize = 8 << 20;
/// The characters from this one on (a private-use plane) number the expressions.
const FIRST_MARK: u32 = 0xF_0000;
/// Fills a mark up to its expression's length.
const FILL: char = '\u{f8ff}';

/// A text whose expressions are replaced by marks.
#[derive(Debug)]
pub(crate) struct Masked {
    pub(crate) text: String,
    /// By number: what the mark stands for.
    marked: Vec<Marked>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Expression,
    /// A character of the file that would else be taken for a mark.
    Itself,
}

#[derive(Debug)]
struct Marked {
    form: Form,
    written: String,
}

/// The file has more expressions than can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Replaces the expressions of `text` by marks.
pub(crate) fn mask(text: &str) -> Result<Masked, TooMany> {
    let mut masked = Masked {
        text: String::with_capacity(text.len()),
        marked: Vec::new(),
    };
    let mut rest = text;
    while let Some(at) = rest.find(|c| c == '$' || number(c).is_some()) {
        masked.text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, form) = first(rest);
        let (written, after) = rest.split_at(length);
        match form {
            None => masked.text.push_str(written),
            Some(form) => masked.push(form, written)?,
        }
        rest = after;
    }
    masked.text.push_str(rest);
    Ok(masked)
}

/// What `text` begins with, which is a dollar sign or would be a mark: how
/// many bytes of it, and whether a mark must stand for them.
fn first(text: &str) -> (usize, Option<Form>) {
    if text.starts_with("$$") {
        (2, None)
    } else if !text.starts_with('$') {
        let itself = text.chars().next().map_or(0, char::len_utf8);
        (itself, Some(Form::Itself))
    } else if let Some(end) = expression::end(text) {
        (end, Some(Form::Expression))
    } else {
        // An open `${` is left for `resolve`: in a comment it is no mistake.
        (1, None)
    }
}

fn number(c: char) -> Option<usize> {
    let c = u32::from(c);
    (0xF_0000..=0xF_FFFF)
        .contains(&c)
        .then(|| (c - FIRST_MARK) as usize)
}

/// A piece of a masked text.
enum Piece<'a> {
    Text(&'a str),
    Mark(usize),
}

impl Masked {
    fn push(&mut self, form: Form, written: &str) -> Result<(), TooMany> {
        let number = u32::try_from(self.marked.len()).map_err(|_| TooMany)?;
        let mark = char::from_u32(FIRST_MARK + number)
            .filter(|_| self.marked.len() < MAX_EXPRESSIONS)
            .ok_or(TooMany)?;
        let fill = written.chars().skip(1).map(|_| FILL);
        self.text.push(mark);
        self.text.extend(fill);
        let written = written.to_owned();
        self.marked.push(Marked { form, written });
        Ok(())
    }

    /// Whether `text` has no mark in it.
    pub(crate) fn is_plain(&self, text: &str) -> bool {
        self.pieces(text)
            .all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The text as it was written, for messages about masked text.
    pub(crate) fn unmask(&self, text: &str) -> String {
        self.pieces(text)
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Mark(number) => &self.marked[number].written,
            })
            .collect()
    }

    fn pieces<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Piece<'a>> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            if let Some(number) = number(first).filter(|&number| number < self.marked.len()) {
                let fill = self.marked[number].written.chars().count() - 1;
                let fill: usize = rest.chars().skip(1).take(fill).map(char::len_utf8).sum();
                rest = &rest[first.len_utf8() + fill..];
                return Some(Piece::Mark(number));
            }
            let end = rest
                .char_indices()
                .skip(1)
                .find(|&(_, c)| number(c).is_some());
            let (text, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
            rest = after;
            Some(Piece::Text(text))
        })
    }
}

/// The evaluation of a masked file, document by document.
#[derive(Debug)]
pub(crate) struct Substitution<'a> {
    masked: &'a Masked,
    /// By number, once asked for.
    results: Vec<Option<Result<Evaluated, Refused>>>,
    added: usize,
    work: Work,
}

impl<'a> Substitution<'a> {
    pub(crate) fn new(masked: &'a Masked) -> Self {
        let results = masked.marked.iter().map(|_| None).collect();
        Self {
            masked,
            results,
            added: 0,
            work: Work::default(),
        }
    }

    /// Puts the values into every text and key of `node`.
    pub(crate) fn resolve(&mut self, node: &mut Node, variables: &Variables, report: &mut Report) {
        Pass {
            substitution: self,
            variables,
            report,
        }
        .node(node, "", false);
    }
}

/// One document's way through the substitution.
struct Pass<'p, 'a> {
    substitution: &'p mut Substitution<'a>,
    variables: &'p Variables,
    report: &'p mut Report,
}

impl Pass<'_, '_> {
    fn node(&mut self, node: &mut Node, path: &str, command: bool) {
        match &mut node.value {
            Value::Scalar(ScalarKind::Text, text) => {
                *text = self.text(text, command, node.place, path);
            }
            Value::Null | Value::Scalar(..) => {}
            Value::List(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{n}]"), command);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.key = self.text(&entry.key, false, entry.key_place, path);
                    let path = join(path, &entry.key);
                    self.node(&mut entry.value, &path, entry.key == "commands");
                }
            }
        }
    }

    fn text(&mut self, text: &str, command: bool, place: Place, path: &str) -> String {
        let masked = self.substitution.masked;
        let mut out = String::with_capacity(text.len());
        for piece in masked.pieces(text) {
            match piece {
                Piece::Text(text) => {
                    if expression::is_open(text) {
                        let how = "write `$${` where the shell is meant";
                        let message = format!("`${{` is not closed on its line; {how}");
                        self.report.error(place, path, message);
                    }
                    out.push_str(&text.replace("$$", "$"));
                }
                Piece::Mark(number) => match masked.marked[number].form {
                    Form::Itself => out.push_str(&masked.marked[number].written),
                    Form::Expression => self.value(number, command, place, path, &mut out),
                },
            }
        }
        out
    }

    /// Adds the value of an expression to `out`.
    fn value(&mut self, number: usize, command: bool, place: Place, path: &str, out: &mut String) {
        let Substitution {
            masked,
            results,
            added,
            work,
        } = &mut *self.substitution;
        let written = &masked.marked[number].written;
        let result = results[number].get_or_insert_with(|| evaluate(written, self.variables, work));
        if let Ok(evaluated) = result {
            *added = added.saturating_add(evaluated.value.len());
        }
        let shell = "write `$NAME` or `$${…}` where the shell is meant";
        match result {
            _ if *added > MAX_ADDED => self.report.error(place, path, Refused::Work.to_string()),
            Ok(Evaluated { value, unknown }) => {
                if let Some(name) = unknown {
                    let written = quoted(written);
                    let message = format!(
                        "{name} is no variable of the build, so {written} is empty; {shell}"
                    );
                    self.report.warn(place, path, message);
                }
                // Drone quotes such a value, so that the shell sees one word and
                // not a command a line.
                if command && value.contains('\n') {
                    quote(value, out);
                } else {
                    out.push_str(value);
                }
            }
            Err(why @ (Refused::Work | Refused::Required(..))) => {
                self.report.error(place, path, why.to_string());
            }
            Err(why) => {
                self.report
                    .error(place, path, format!("{}: {why}; {shell}", quoted(written)));
            }
        }
    }
}

/// A value as Go's `%q` quotes it.
fn quote(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
