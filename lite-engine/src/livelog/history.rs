//! The newest lines of a log, for the blob.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Line, encode};

/// Encoded bytes that a blob holds at most.
pub const BLOB_MAX: usize = 5 * 1024 * 1024;

/// The line that stands for those that gave way is no longer than this.
const MARK_MAX: usize = 200;

/// Encoded lines up to [`BLOB_MAX`]; older ones give way, and a line says so.
#[derive(Debug)]
pub struct History {
    lines: VecDeque<Bytes>,
    bytes: usize,
    most: usize,
    /// The last line that gave way, whose place the mark takes.
    cut: Option<Line>,
    trim_newline: bool,
}

impl History {
    /// None yet.
    pub fn new(trim_newline: bool) -> Self {
        Self::with_most(BLOB_MAX, trim_newline)
    }

    pub(super) fn with_most(most: usize, trim_newline: bool) -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            most,
            cut: None,
            trim_newline,
        }
    }

    /// Takes the next line.
    pub fn add(&mut self, line: &Line) {
        let encoded = encode::remote(line, self.trim_newline);
        self.push(line, encoded.into());
    }

    /// Takes the next line, of this encoded form.
    pub(super) fn push(&mut self, line: &Line, encoded: Bytes) {
        self.bytes += encoded.len() + 1;
        self.lines.push_back(encoded);
        if self.bytes + MARK_MAX <= self.most {
            return;
        }
        // Room is made once for many lines.
        let room = self.most.saturating_sub(MARK_MAX + self.most / 64);
        while self.bytes > room && self.lines.len() > 1 {
            let gone = self.lines.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.len() + 1);
        }
        let cut = line.pos.saturating_sub(self.lines.len() as u64);
        self.cut = Some(Line {
            pos: cut,
            out: format!("... ({} earlier log lines are not kept)\n", cut + 1),
            at: line.at,
        });
    }

    /// All that is kept, a line of JSON each, with the mark before them where lines gave way.
    pub fn blob(&self) -> Bytes {
        let mark = self.cut.as_ref();
        let mark = mark.map(|cut| encode::remote(cut, self.trim_newline));
        let mut blob = Vec::with_capacity(self.bytes + mark.as_ref().map_or(0, |m| m.len() + 1));
        let lines = self.lines.iter().map(|line| &line[..]);
        for line in mark.iter().map(|mark| &mark[..]).chain(lines) {
            blob.extend_from_slice(line);
            blob.push(b'\n');
        }
        blob.into()
    }
}
