//! Which byte strings are hidden for a set of secret values, and whether a
//! text's end may be the beginning of one of them.
//!
//! Other spellings of a value (base64, URL-encoded, quoted) belong into
//! [`Patterns::of`]; nothing else would change.

/// A line of a value with several lines is hidden from this many characters on.
const LINE_MIN: usize = 4;

/// A whole value is hidden from this many bytes on.
const VALUE_MIN: usize = 2;

/// Distinct patterns in byte order, none of them empty.
pub(super) struct Patterns {
    sorted: Vec<Vec<u8>>,
    begins: [bool; 256],
    longest: usize,
}

impl Patterns {
    /// The patterns of these values, as [`super::Masker::new`] says.
    pub(super) fn of<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut sorted = Vec::new();
        for value in values {
            let value = value.as_ref().trim();
            if value.len() >= VALUE_MIN {
                sorted.push(value.as_bytes().to_vec());
            }
            if value.contains('\n') {
                let lines = value.lines().map(str::trim);
                sorted.extend(
                    lines
                        .filter(|line| line.chars().count() >= LINE_MIN)
                        .map(|line| line.as_bytes().to_vec()),
                );
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        let mut begins = [false; 256];
        for pattern in &sorted {
            begins[usize::from(pattern[0])] = true;
        }
        let longest = sorted.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            sorted,
            begins,
            longest,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
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
