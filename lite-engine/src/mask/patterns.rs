//! Which byte strings are hidden for a set of secret values, and whether a
//! text's end may be the beginning of one of them.

use super::Style;
use super::spellings;

/// A whole value is hidden from this many bytes on.
const VALUE_MIN: usize = 2;

/// A string in a value that is a JSON document is hidden from this many bytes on.
const STRING_MIN: usize = 8;

/// Distinct patterns in byte order, none of them empty.
pub(super) struct Patterns {
    sorted: Vec<Vec<u8>>,
    begins: [bool; 256],
    longest: usize,
}

impl Patterns {
    /// The patterns of these values, as [`super::Masker::styled`] says.
    pub(super) fn of<V: AsRef<str>>(style: Style, values: impl IntoIterator<Item = V>) -> Self {
        let mut patterns = Vec::new();
        for value in values {
            let value = value.as_ref().trim();
            if value.len() < VALUE_MIN {
                continue;
            }
            spellings::of_value(value, &mut patterns);
            if value.contains('\n') {
                value
                    .lines()
                    .map(str::trim)
                    .filter(|line| line.chars().count() >= style.line_min())
                    .for_each(|line| spellings::of_line(line, &mut patterns));
            }
            if value.starts_with(['{', '[']) {
                strings_of(value, &mut |string| {
                    let string = string.trim();
                    if string.len() >= STRING_MIN {
                        spellings::of_value(string, &mut patterns);
                    }
                });
            }
        }
        Self::sorted(patterns)
    }

    /// These and those.
    pub(super) fn and(&self, other: Self) -> Self {
        let mut patterns = other.sorted;
        patterns.extend_from_slice(&self.sorted);
        Self::sorted(patterns)
    }

    fn sorted(mut patterns: Vec<Vec<u8>>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        let mut begins = [false; 256];
        for pattern in &patterns {
            begins[usize::from(pattern[0])] = true;
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            sorted: patterns,
            begins,
            longest,
        }
    }

    pub(super) fn as_slice(&self) -> &[Vec<u8>] {
        &self.sorted
    }

    /// The first position from `from` on whose text, up to the end, is a
    /// beginning of a longer pattern; the text's length where there is none.
    pub(super) fn first_open(&self, text: &[u8], from: usize) -> usize {
        let earliest = text
            .len()
            .saturating_sub(self.longest.saturating_sub(1))
            .max(from);
        (earliest..text.len())
            .find(|&at| self.begins[usize::from(text[at])] && self.is_open(&text[at..]))
            .unwrap_or(text.len())
    }

    /// Whether a pattern begins with `tail` and goes on after it.
    fn is_open(&self, tail: &[u8]) -> bool {
        // All patterns that begin with `tail` follow it in byte order.
        let next = self
            .sorted
            .partition_point(|pattern| pattern.as_slice() <= tail);
        self.sorted
            .get(next)
            .is_some_and(|pattern| pattern.starts_with(tail))
    }
}

/// Calls with each string of a JSON document; of anything else, nothing.
fn strings_of(text: &str, found: &mut impl FnMut(&str)) {
    let Ok(document) = serde_json::from_str(text) else {
        return;
    };
    let mut left: Vec<serde_json::Value> = vec![document];
    while let Some(value) = left.pop() {
        match value {
            serde_json::Value::String(string) => found(&string),
            serde_json::Value::Array(values) => left.extend(values),
            serde_json::Value::Object(members) => {
                left.extend(members.into_iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
}
