//! Events for programs: one JSON object a line, written as soon as it is known.

use std::io::{self, Write};
use std::time::Duration;

use super::Screen;
use crate::exec::events::{Event, Stamped};

/// Writes events as JSON.
pub(super) struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Screen for Json<W> {
    fn show(&mut self, at: Duration, event: Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, &Stamped { at, event })?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
