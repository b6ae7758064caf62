//! Texts that screens share: durations, marks, prefixes, and names made harmless.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::exec::events::{Ended, Outcome, PlannedPipeline};
use crate::exec::name::Name;

/// Most characters of an end that is told shortly.
const LONGEST_SHORT: usize = 80;

/// A duration for a person: `40 µs`, `0.21 ms`, `312 ms`, `1.2 s`, `2 m 03 s`, `1 h 02 m`.
pub(crate) fn human(span: Duration) -> String {
    let micros = span.as_micros();
    let seconds = span.as_secs();
    match micros {
        0 => "0 ms".to_owned(),
        1..100 => format!("{micros} µs"),
        100..10_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 => format!("{seconds}.{} s", span.subsec_millis() / 100),
        60_000_000..3_600_000_000 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A moment in UTC, with so many digits of its second.
pub(crate) fn when(unix_ms: u64, digits: usize) -> String {
    match i64::try_from(unix_ms).map(Timestamp::from_millisecond) {
        Ok(Ok(moment)) => format!("{moment:.digits$}"),
        _ => "never".to_owned(),
    }
}

/// `text` without anything that a terminal would act on.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_directional(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that turn the direction of a text round, or break its line.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A step's line for a terminal: colours stay, whatever else would move the
/// cursor or talk to the terminal goes.
pub(super) fn for_terminal(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\u{1b}' => {
                let (sequence, after) = after.split_at(escape_len(after));
                if is_colour(sequence) {
                    out.push('\u{1b}');
                    out.push_str(sequence);
                    coloured = true;
                }
                after
            }
            '\t' => {
                out.push_str("    ");
                after
            }
            c if c.is_control() => after,
            c => {
                out.push(c);
                after
            }
        };
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

/// How many bytes of `text` belong to the escape sequence that began before it.
fn escape_len(text: &str) -> usize {
    match text.as_bytes().first() {
        Some(b'[') => text[1..]
            .find(|c: char| ('@'..='~').contains(&c))
            .map_or(text.len(), |at| at + 2),
        // Operating system commands end with BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => match text.find(['\u{7}', '\u{1b}']) {
            Some(at) if text[at..].starts_with("\u{1b}\\") => at + 2,
            Some(at) if text[at..].starts_with('\u{7}') => at + 1,
            Some(at) => at,
            None => text.len(),
        },
        Some(byte) if byte.is_ascii() => 1,
        _ => 0,
    }
}

/// A sequence that only changes how text looks: `[` digits, `;` and `:`, `m`.
fn is_colour(sequence: &str) -> bool {
    sequence
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix('m'))
        .is_some_and(|middle| {
            middle
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'))
        })
}

/// How an end is told in a word.
pub(super) fn word(result: Outcome) -> &'static str {
    match result {
        Outcome::Success => "succeeded",
        Outcome::Skipped => "skipped",
        Outcome::Ignored => "failed, ignored",
        Outcome::Failure | Outcome::NoMachine => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

/// How an end is told in a line: `succeeded`, `failed: exit code 2`, ….
pub(super) fn told(end: &Ended) -> String {
    match end.reason.as_ref().and_then(|reason| reason.lines().next()) {
        Some(reason) => format!("{}: {}", word(end.result), printable(reason)),
        None => word(end.result).to_owned(),
    }
}

/// [`told`], if it is not too long for a table.
pub(super) fn told_shortly(end: &Ended) -> String {
    let line = told(end);
    match line.char_indices().nth(LONGEST_SHORT) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The whole reason of an end, its further lines indented.
pub(super) fn whole_reason(end: &Ended) -> Option<String> {
    let lines: Vec<_> = end.reason.as_deref()?.lines().map(printable).collect();
    Some(lines.join("\n    "))
}

/// What stands before a step's lines. The pipeline is named only where there are several.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    several: bool,
    width: usize,
}

impl Prefixes {
    /// Prefixes that are all as wide as the widest step needs.
    pub(super) fn new(pipelines: &[PlannedPipeline]) -> Self {
        let mut prefixes = Self {
            several: pipelines.len() > 1,
            width: 0,
        };
        let longest = pipelines
            .iter()
            .flat_map(|pipeline| pipeline.steps.iter().map(|step| (&pipeline.name, step)))
            .map(|(pipeline, step)| prefixes.of(pipeline, step).chars().count())
            .max();
        // A very long name must not push every other step's lines to the right.
        prefixes.width = longest.unwrap_or(0).min(24);
        prefixes
    }

    /// There are several pipelines.
    pub(super) fn are_several(&self) -> bool {
        self.several
    }

    /// The step's name as it stands alone in a line.
    pub(super) fn of(&self, pipeline: &Name, step: &Name) -> String {
        if self.several {
            printable(&format!("{pipeline}/{step}"))
        } else {
            printable(step.as_str())
        }
    }

    /// The step's name, padded.
    pub(super) fn padded(&self, pipeline: &Name, step: &Name) -> String {
        format!("{:width$}", self.of(pipeline, step), width = self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_about_three_digits() {
        for (micros, text) in [
            (0, "0 ms"),
            (40, "40 µs"),
            (213, "0.21 ms"),
            (9_990, "9.99 ms"),
            (312_400, "312 ms"),
            (1_250_000, "1.2 s"),
            (123_000_000, "2 m 03 s"),
            (3_725_000_000, "1 h 02 m"),
        ] {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn a_step_can_colour_its_lines_and_do_nothing_else_to_the_terminal() {
        assert_eq!(
            for_terminal(b"\x1b[1;31mred\x1b[0m"),
            "\x1b[1;31mred\x1b[0m\x1b[0m"
        );
        assert_eq!(for_terminal(b"a\x1b[2J\x1b[Hb"), "ab");
        assert_eq!(
            for_terminal(b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c"),
            "abc"
        );
        assert_eq!(for_terminal(b"a\x08\x07b\tc\x1b"), "ab    c");
        assert_eq!(for_terminal(b"a\x1b[31"), "a");
        assert_eq!(for_terminal("a\u{1b}ä".as_bytes()), "aä");
    }

    #[test]
    fn a_name_from_the_file_is_shown_without_control_characters() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }
}
