//! The newer dialect: quoted values go over several lines.

use super::unescaped;

/// The variables of the text, in order; `None` where it is not of this dialect.
pub(super) fn read(text: &str) -> Option<Vec<(String, String)>> {
    let text = text.replace("\r\n", "\n");
    let mut variables = Vec::new();
    let mut rest = next_statement(&text);
    while !rest.is_empty() {
        let (key, after) = key(rest)?;
        let (value, after) = value(after)?;
        variables.push((key.to_owned(), value));
        rest = next_statement(after);
    }
    Some(variables)
}

/// What follows blank lines, comments and the mark of a YAML document.
fn next_statement(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let line = text.split('\n').next().unwrap_or_default();
        if !line.starts_with('#') && line != "---" {
            return text;
        }
        text = &text[line.len()..];
    }
}

/// The name before `=` or `:`, and what follows that.
fn key(text: &str) -> Option<(&str, &str)> {
    let text = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with(is_space) => rest.trim_start_matches(is_space),
        _ => text,
    };
    let end = text.find(['=', ':', '\n'])?;
    let (name, rest) = text.split_at(end);
    let valid = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || is_space(c);
    let rest = rest.strip_prefix(['=', ':'])?;
    name.chars()
        .all(valid)
        .then(|| (name.trim_end(), rest.trim_start_matches(is_space)))
}

fn value(text: &str) -> Option<(String, &str)> {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&text[1..], quote),
        _ => Some(bare(text)),
    }
}

/// Up to the quotation mark that no backslash precedes.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let end = text
        .match_indices(quote)
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with('\\'))?;
    let inside = &text[..end];
    let value = match quote {
        '"' => unescaped(inside),
        _ => inside.to_owned(),
    };
    Some((value, &text[end + 1..]))
}

/// Up to the line's end, or to the last `#` that follows a space.
fn bare(text: &str) -> (String, &str) {
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    let comment = line
        .rmatch_indices('#')
        .map(|(at, _)| at)
        .find(|&at| line[..at].ends_with(is_space));
    let value = comment.map_or(line, |at| &line[..at]);
    (value.trim_matches(is_space).to_owned(), rest)
}

/// White space that does not end a line.
fn is_space(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}
