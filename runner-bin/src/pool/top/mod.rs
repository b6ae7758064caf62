//! `vmpool pool top`: the pools on a live screen, until somebody ends it.
//!
//! [`follow()`] asks and asks again, on the runtime; the screen and the keys are
//! on a thread of their own, which a slow terminal may hold up.

mod draw;
mod follow;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use self::draw::draw;
use self::follow::{Seen, follow};
use super::args::TopArgs;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::interrupt::Signals;

/// Between two looks for a key, for news, for the end.
const LOOK: Duration = Duration::from_millis(50);

/// The screen is drawn so often though nothing is new: durations grow.
const TICK: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) async fn top(args: &TopArgs) -> Result<Exit, Stopped> {
    if !io::stdout().is_terminal() {
        let error = anyhow!("standard output is no terminal; use vmpool pool ls");
        return Err(error).or_exit(Exit::BadInput);
    }
    let source = args.source.open().await?;
    // What can't be shown at all is told before there is a screen.
    source.status(args.pool.as_deref()).await?;
    let mut signals = Signals::catch().or_exit(Exit::Failed)?;
    let (tell, seen) = watch::channel(Seen::default());
    let screen = spawn_blocking(move || show(&seen));
    tokio::select! {
        shown = screen => {
            let shown = shown.context("the screen broke");
            shown.and_then(|shown| shown.context("draw the screen")).or_exit(Exit::Failed)?;
            Ok(Exit::Success)
        }
        // Its sender goes with it: the screen ends by that.
        () = follow(source, args, &tell) => Ok(Exit::Success),
        _ = signals.next() => {
            drop(tell);
            // The terminal is as it was when the screen has ended.
            Ok(Exit::Interrupted)
        }
    }
}

/// Shows what is seen, until a key ends it or nobody follows any more.
fn show(seen: &watch::Receiver<Seen>) -> io::Result<()> {
    let mut seen = seen.clone();
    ratatui::run(|terminal| {
        let mut scroll = 0_usize;
        loop {
            let mut most = 0;
            terminal.draw(|frame| most = draw(frame, &seen.borrow_and_update(), scroll))?;
            scroll = scroll.min(most);
            let next = Instant::now() + TICK;
            while Instant::now() < next {
                match seen.has_changed() {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(_) => return Ok(()),
                }
                if !event::poll(LOOK)? {
                    continue;
                }
                match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => match act(key, scroll) {
                        Some(to) => scroll = to,
                        None => return Ok(()),
                    },
                    _ => {}
                }
                break;
            }
        }
    })
}

/// Where a key scrolls to; none: it ends the screen.
fn act(key: KeyEvent, scroll: usize) -> Option<usize> {
    const PAGE: usize = 10;
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => None,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => None,
        KeyCode::Down | KeyCode::Char('j') => Some(scroll.saturating_add(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(scroll.saturating_sub(1)),
        KeyCode::PageDown => Some(scroll.saturating_add(PAGE)),
        KeyCode::PageUp => Some(scroll.saturating_sub(PAGE)),
        KeyCode::Home => Some(0),
        KeyCode::End => Some(usize::MAX),
        _ => Some(scroll),
    }
}
