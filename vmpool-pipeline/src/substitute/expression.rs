//! One `${…}` expression: where it ends, whether it may be evaluated, and its
//! value. bashexpand does the evaluation; this file has what Drone does
//! otherwise, and what keeps hostile expressions cheap.

use std::borrow::Cow;
use std::convert::Infallible;

use bashexpand::{Context, Error, Expander};

use super::Variables;
use crate::diagnostic::plain;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 500;
/// How much all patterns of a file may cost: the sum of value² × expression.
const MAX_WORK: usize = 1 << 30;

/// The end of the expression that `text` begins with: the brace that closes
/// its first one, on the same line.
pub(super) fn end(text: &str) -> Option<usize> {
    if !text.starts_with("${") {
        return None;
    }
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, c) in text
        .char_indices()
        .take_while(|&(at, c)| at < MAX_LENGTH && c != '\n')
    {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether `text` has a `${` that isn't escaped as `$${`.
pub(super) fn is_open(text: &str) -> bool {
    text.contains("${") && text.replace("$$", "").contains("${")
}

/// What evaluation has cost so far, over a whole file.
#[derive(Debug, Default)]
pub(super) struct Work(usize);

/// The value of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evaluated {
    pub(super) value: String,
    /// A name in it that is unknown and has no default: likely the shell's.
    pub(super) unknown: Option<String>,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("no such substitution")]
    Unknown,
    #[error("an expression can hold another only in its default")]
    Nested,
    #[error("the number is too large")]
    Number,
    #[error("the substitutions of this file are too much work")]
    Work,
    #[error("{0} is not set: {1}")]
    Required(String, String),
}

/// Evaluates `expression`, which is one from `${` to its [`end`].
pub(super) fn evaluate(
    expression: &str,
    variables: &Variables,
    work: &mut Work,
) -> Result<Evaluated, Refused> {
    let mut unknown = None;
    for part in parts(expression)? {
        let value = variables.get(part.name);
        if part.operator.starts_with(['#', '%', '/']) {
            let length = value.map_or(0, String::len);
            let cost = length
                .saturating_mul(length)
                .saturating_mul(expression.len());
            work.0 = work.0.saturating_add(cost);
        }
        if value.is_none() && !part.has_default() && !is_of_the_build(part.name) {
            unknown = Some(part.name.to_owned());
        }
    }
    if work.0 > MAX_WORK {
        return Err(Refused::Work);
    }
    let value = Expander::new()
        .expand(&in_bash(expression), &mut Values(variables))
        .map_err(|error| match error {
            Error::Required { var, message } => Refused::Required(var, plain(&message)),
            _ => Refused::Unknown,
        })?;
    Ok(Evaluated { value, unknown })
}

/// The names that are empty without being a mistake: which of them are set
/// depends on the event.
fn is_of_the_build(name: &str) -> bool {
    name == "CI" || name == "DRONE" || name.starts_with("DRONE_") || name.starts_with("CI_")
}

/// One `${NAME…}` of an expression, which may hold others in its default.
struct Part<'a> {
    name: &'a str,
    operator: &'a str,
}

impl Part<'_> {
    fn has_default(&self) -> bool {
        let operator = self.operator.strip_prefix(':').unwrap_or(self.operator);
        operator.starts_with(['-', '=', '+', '?'])
    }
}

fn parts(expression: &str) -> Result<Vec<Part<'_>>, Refused> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (at, _) in expression.match_indices("${") {
        // Elsewhere than in a default, expressions could multiply each other.
        if !parts.iter().all(Part::has_default) {
            return Err(Refused::Nested);
        }
        let body = &expression[at + 2..];
        let body = body.strip_prefix('#').unwrap_or(body);
        let end = body.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let (name, operator) = body.split_at(end.unwrap_or(body.len()));
        if name.is_empty() {
            return Err(Refused::Unknown);
        }
        // bashexpand adds offset and length without a check.
        let digits = operator
            .split(|c: char| !c.is_ascii_digit())
            .map(str::len)
            .max();
        if operator.starts_with(':') && digits > Some(9) {
            return Err(Refused::Number);
        }
        parts.push(Part { name, operator });
    }
    Ok(parts)
}

/// The expression as bash needs it where Drone differs: a doubled backslash
/// before a slash escapes the slash, and `$NAME` in a word stays as it is.
fn in_bash(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len() + 8);
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let (read, write) = if rest.starts_with(r"\\/") {
            (3, r"\/")
        } else if c == '\\' {
            let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
            (1 + escaped, &rest[..=escaped])
        } else if c == '$' && !rest.starts_with("${") {
            (1, r"\$")
        } else {
            (c.len_utf8(), &rest[..c.len_utf8()])
        };
        out.push_str(write);
        rest = &rest[read..];
    }
    out
}

/// The variables as bashexpand asks for them. Drone does not tell unset from
/// empty, and an assignment (`${X=y}`) lasts no longer than its expression.
struct Values<'a>(&'a Variables);

impl Context for Values<'_> {
    type Error = Infallible;

    fn get(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, Infallible> {
        let value = self.0.get(name).filter(|value| !value.is_empty());
        Ok(value.map(|value| Cow::Borrowed(value.as_str())))
    }

    fn set(&mut self, _: &str, _: &str) -> Result<bool, Infallible> {
        Ok(true)
    }
}
