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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::samples;

    #[test]
    fn the_documentation_shows_every_event_as_it_is() {
        let documentation = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/exec-events.md"
        ))
        .expect("docs/exec-events.md");
        let mut out = Vec::new();
        let mut screen = Json::new(&mut out);
        for (at, event) in samples::run() {
            screen.show(at, event).expect("a vector takes everything");
        }
        let shown = String::from_utf8(out).expect("text");
        assert!(
            documentation.contains(&shown),
            "docs/exec-events.md should show:\n{shown}"
        );
    }
}
