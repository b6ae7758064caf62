//! What happened in a history, line by line, and what was wrong in it.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines kept: the end of a history is what tells why it went wrong.
const KEPT: usize = 400;

/// The history so far.
#[derive(Debug)]
pub(super) struct Trace {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    lines: VecDeque<String>,
    count: u64,
    hash: u64,
    wrong: Vec<String>,
    kept: usize,
}

/// A history as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Promises that were broken, and how.
    pub wrong: Vec<String>,
    /// A hash of every line: equal for equal histories.
    pub hash: u64,
    /// How many lines there were.
    pub lines: u64,
    /// The last of them.
    pub tail: Vec<String>,
}

impl Trace {
    pub(super) fn new(keep_all: bool) -> Self {
        let inner = Inner {
            lines: VecDeque::new(),
            count: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            wrong: Vec::new(),
            kept: if keep_all { usize::MAX } else { KEPT },
        };
        Self {
            begun: Instant::now(),
            inner: Mutex::new(inner),
        }
    }

    /// One more line, with its time.
    pub(super) fn say(&self, line: fmt::Arguments<'_>) {
        let at = self.begun.elapsed().as_secs_f64();
        let line = format!("{at:>10.3} {line}");
        let mut inner = self.inner.lock();
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.count += 1;
        if inner.lines.len() >= inner.kept {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// A promise was broken.
    pub(super) fn wrong(&self, what: fmt::Arguments<'_>) {
        self.say(format_args!("WRONG: {what}"));
        let at = self.begun.elapsed().as_secs_f64();
        self.inner
            .lock()
            .wrong
            .push(format!("{what} (at {at:.3} s)"));
    }

    pub(super) fn told(&self) -> Told {
        let inner = self.inner.lock();
        Told {
            wrong: inner.wrong.clone(),
            hash: inner.hash,
            lines: inner.count,
            tail: inner.lines.iter().cloned().collect(),
        }
    }
}
