//! How a run is shown: a live view on a terminal, plain lines elsewhere, JSON
//! for programs. A screen sees [`Event`]s and nothing else, on a thread of its
//! own, so that an output that blocks holds up no task.

mod json;
mod live;
mod paint;
mod plain;
#[cfg(test)]
mod samples;
mod summary;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(crate) use self::paint::{colours, painted};
pub(crate) use self::text::{human, printable, when};
use crate::exec::events::{Event, Stamped};

/// Most events that are taken before the output is flushed.
const BATCH: usize = 256;

/// Something that shows events.
trait Screen {
    /// Shows `event`, which happened at `at` from the start. May keep it back until [`Screen::flush`].
    fn show(&mut self, at: Duration, event: Event) -> io::Result<()>;

    /// Writes what was kept back.
    fn flush(&mut self) -> io::Result<()>;
}

/// Which screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line a step that changes in place.
    Live,
    /// Lines, the steps' names before them.
    Plain,
    /// One JSON object a line.
    Json,
}

impl Kind {
    /// The screen for standard output as it is.
    pub(crate) fn choose(json: bool, plain: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if json {
            Self::Json
        } else if plain || dumb || !io::stdout().is_terminal() {
            Self::Plain
        } else {
            Self::Live
        }
    }
}

/// A screen at work.
#[derive(Debug)]
pub(crate) struct Shown {
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Starts to show what comes from `events`, until all their senders are gone.
///
/// # Errors
/// Standard output is not open, or there is no thread to be had.
pub(crate) fn start(kind: Kind, events: mpsc::Receiver<Stamped>) -> io::Result<Shown> {
    let out = BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let (tell, ended) = oneshot::channel();
    thread::Builder::new()
        .name("screen".into())
        .spawn(move || {
            let result = match kind {
                Kind::Live => run(&mut live::Live::new(out, io::stderr()), events),
                Kind::Plain => run(&mut plain::Plain::new(out, io::stderr()), events),
                Kind::Json => run(&mut json::Json::new(out), events),
            };
            let _ = tell.send(result);
        })?;
    Ok(Shown { ended })
}

impl Shown {
    /// Waits until the screen has shown everything, or can't show any more.
    ///
    /// # Errors
    /// What was wrong with standard output.
    ///
    /// # Cancel safety
    /// Safe: the screen goes on.
    pub(crate) async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the screen panicked")))
    }
}

fn run(screen: &mut dyn Screen, mut events: mpsc::Receiver<Stamped>) -> io::Result<()> {
    while let Some(first) = events.blocking_recv() {
        screen.show(first.at, first.event)?;
        for _ in 1..BATCH {
            let Ok(next) = events.try_recv() else { break };
            screen.show(next.at, next.event)?;
        }
        screen.flush()?;
    }
    Ok(())
}
