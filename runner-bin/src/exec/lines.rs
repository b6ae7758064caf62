//! Splits a step's output into lines, however it is cut into chunks.
//!
//! Nothing is dropped and nothing is added: the pieces' bytes and ends, one
//! after the other, are the log byte for byte. A line longer than
//! [`LONGEST`] comes in several pieces, so that a step that prints ten
//! megabytes without a line feed costs no more memory than any other.
//! A carriage return ends a piece too: that is how progress bars write over
//! themselves, and a screen may show only the last of them.

use serde::Serialize;

/// Most bytes that one piece has.
pub(crate) const LONGEST: usize = 16 * 1024;

/// A line, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What was printed, without what ended it.
    pub(crate) bytes: Vec<u8>,
    /// What ended it.
    pub(crate) end: End,
}

/// What ended a piece; serialized as the very characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum End {
    /// A line feed.
    #[serde(rename = "\n")]
    Newline,
    /// A carriage return and a line feed.
    #[serde(rename = "\r\n")]
    ReturnNewline,
    /// A carriage return alone: what follows is meant to be written over this.
    #[serde(rename = "\r")]
    Return,
    /// Nothing: the line goes on in the step's next piece, or the log ends here.
    #[serde(rename = "")]
    Open,
}

impl End {
    /// The characters.
    #[cfg(test)]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Newline => "\n",
            Self::ReturnNewline => "\r\n",
            Self::Return => "\r",
            Self::Open => "",
        }
    }
}

/// The line that is being printed. Holds at most [`LONGEST`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
    /// A carriage return came last: whether a line feed follows is not known yet.
    returned: bool,
}

impl Lines {
    /// Takes the next bytes and adds the pieces that they complete to `out`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Piece>) {
        while let Some(&first) = bytes.first() {
            if self.returned {
                self.returned = false;
                let end = if first == b'\n' {
                    End::ReturnNewline
                } else {
                    End::Return
                };
                out.push(self.take(end));
                if first == b'\n' {
                    bytes = &bytes[1..];
                }
                continue;
            }
            let room = LONGEST - self.held.len();
            let reach = &bytes[..bytes.len().min(room)];
            if let Some(at) = reach.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                self.held.extend_from_slice(&bytes[..at]);
                if bytes[at] == b'\n' {
                    out.push(self.take(End::Newline));
                } else {
                    self.returned = true;
                }
                bytes = &bytes[at + 1..];
            } else {
                self.held.extend_from_slice(reach);
                bytes = &bytes[reach.len()..];
                if self.held.len() == LONGEST && !bytes.is_empty() {
                    out.push(self.cut());
                }
            }
        }
    }

    /// What is left when the log is over.
    pub(crate) fn finish(&mut self) -> Option<Piece> {
        if std::mem::take(&mut self.returned) {
            return Some(self.take(End::Return));
        }
        (!self.held.is_empty()).then(|| self.take(End::Open))
    }

    fn take(&mut self, end: End) -> Piece {
        Piece {
            bytes: std::mem::take(&mut self.held),
            end,
        }
    }

    /// Gives out a full buffer, but keeps a character that is not whole yet.
    fn cut(&mut self) -> Piece {
        let tail = self.held.split_off(whole_characters(&self.held));
        let piece = self.take(End::Open);
        self.held = tail;
        piece
    }
}

/// The length of `bytes` without a character of UTF-8 that is cut off at their end.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needs = match bytes[at] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if needs > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(String, End)> {
        let mut lines = Lines::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut pieces);
        }
        pieces.extend(lines.finish());
        pieces
            .into_iter()
            .map(|piece| {
                (
                    String::from_utf8_lossy(&piece.bytes).into_owned(),
                    piece.end,
                )
            })
            .collect()
    }

    #[test]
    fn a_line_may_come_in_any_number_of_chunks() {
        assert_eq!(
            split(&[b"on", b"e\ntw", b"o", b"\n\nlast"]),
            [
                ("one".to_owned(), End::Newline),
                ("two".to_owned(), End::Newline),
                (String::new(), End::Newline),
                ("last".to_owned(), End::Open),
            ]
        );
    }

    #[test]
    fn a_return_and_a_line_feed_are_one_end_even_in_two_chunks() {
        assert_eq!(
            split(&[b"10%\r20%\r", b"\ndone\r"]),
            [
                ("10%".to_owned(), End::Return),
                ("20%".to_owned(), End::ReturnNewline),
                ("done".to_owned(), End::Return),
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST) + "x";
        let pieces = split(&[b"x", long.as_bytes(), b"\n"]);
        assert!(pieces.len() > 2);
        assert!(pieces.iter().all(|(text, _)| !text.contains('\u{fffd}')));
        let (last, cut) = pieces.split_last().expect("there are pieces");
        assert_eq!(last.1, End::Newline);
        assert!(
            cut.iter()
                .all(|(text, end)| *end == End::Open && text.len() <= LONGEST)
        );
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_added(
            text in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..400),
            cuts in proptest::collection::vec(1_usize..40, 1..40),
        ) {
            let mut chunks = Vec::new();
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            let mut lines = Lines::default();
            let mut pieces = Vec::new();
            for chunk in &chunks {
                lines.push(chunk, &mut pieces);
            }
            pieces.extend(lines.finish());
            let joined: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.bytes.iter().copied().chain(piece.end.as_str().bytes()))
                .collect();
            prop_assert_eq!(joined, text.clone());

            let mut at_once = Vec::new();
            let mut lines = Lines::default();
            lines.push(&text, &mut at_once);
            at_once.extend(lines.finish());
            prop_assert_eq!(pieces, at_once);
        }
    }
}
