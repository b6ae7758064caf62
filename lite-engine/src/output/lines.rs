//! The older dialect: a variable a line.

use super::{OutputError, unescaped};

/// Bytes of a line, without its end.
const LINE_LIMIT: usize = 64 * 1024;

/// The variables of the text, in order.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, OutputError> {
    let mut variables = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        if content.len() > LINE_LIMIT {
            return Err(OutputError::LineTooLong { line });
        }
        let trimmed = content.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            variables.push(variable(content).ok_or(OutputError::NoValue { line })?);
        }
    }
    Ok(variables)
}

fn variable(line: &str) -> Option<(String, String)> {
    let line = without_comment(line);
    // `KEY: VALUE` is taken too, where the colon comes first.
    let (key, value) = line.split_once(['=', ':'])?;
    Some((key_of(key).to_owned(), value_of(value)))
}

/// A `#` begins a comment, except where a quotation that was opened before it
/// is closed after it.
fn without_comment(line: &str) -> &str {
    let mut kept = 0;
    let mut open = false;
    let mut at = 0;
    for part in line.split('#') {
        let end = at + part.len();
        let quote = part.matches('"').count() == 1 || part.matches('\'').count() == 1;
        let closes = quote && open;
        if quote {
            open = !open;
        }
        if at == 0 || open || closes {
            kept = end;
        }
        at = end + 1;
    }
    &line[..kept]
}

fn key_of(text: &str) -> &str {
    let key = text.trim();
    match key.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => key,
    }
}

fn value_of(text: &str) -> String {
    let value = text.trim_matches(' ');
    let between = |quote| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    if let Some(quoted) = between('"') {
        unescaped(quoted)
    } else {
        between('\'').unwrap_or(value).to_owned()
    }
}
