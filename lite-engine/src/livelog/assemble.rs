//! Bytes into lines.

use std::time::SystemTime;

/// Bytes of a line that are kept, without its end.
pub const LINE_MAX: usize = 71_680;

/// What stands for the rest of a longer one.
const CUT: &str = "... (log line truncated)";

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 0.
    pub pos: u64,
    /// Its text, with a newline at its end. What was not UTF-8 is replaced,
    /// because JSON can hold nothing else.
    pub out: String,
    /// When it was complete.
    pub at: SystemTime,
}

/// Puts lines together. Holds no more than one.
#[derive(Debug, Default)]
pub struct Assembler {
    pos: u64,
    held: Vec<u8>,
    /// The line was longer than what is held of it.
    cut: bool,
}

impl Assembler {
    /// Takes the next bytes and calls `add` with each line that they complete.
    pub fn push(&mut self, mut bytes: &[u8], at: SystemTime, mut add: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.hold(&bytes[..end]);
            add(self.line(at));
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes);
    }

    /// The log is over: its last line, if it did not end with a newline.
    pub fn finish(&mut self, at: SystemTime) -> Option<Line> {
        (!self.held.is_empty()).then(|| self.line(at))
    }

    /// Lines so far.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.held.len();
        self.cut |= bytes.len() > room;
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, at: SystemTime) -> Line {
        let kept = if self.cut {
            whole_characters(&self.held)
        } else {
            &self.held
        };
        let mut out = String::from_utf8_lossy(kept).into_owned();
        if self.cut {
            out.push_str(CUT);
        }
        out.push('\n');
        self.held.clear();
        self.cut = false;
        let pos = self.pos;
        self.pos += 1;
        Line { pos, out, at }
    }
}

/// Without a character that the cut went through.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let begins_character = |&at: &usize| bytes[at] & 0b1100_0000 != 0b1000_0000;
    let last = (bytes.len().saturating_sub(4)..bytes.len())
        .rev()
        .find(begins_character);
    match last.map(|at| (at, str::from_utf8(&bytes[at..]))) {
        Some((at, Err(error))) if error.error_len().is_none() => &bytes[..at],
        _ => bytes,
    }
}
