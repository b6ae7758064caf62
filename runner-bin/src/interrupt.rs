//! Signals that end the program: the first cancels and cleans up, the second
//! stops at once. SIGTERM, and SIGHUP of a terminal that is closed, are meant
//! like Ctrl-C.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal is called.
pub(crate) type SignalName = &'static str;

/// The signals, from now on caught.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches the signals. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    ///
    /// # Cancel safety
    /// Safe: a dropped call loses nothing.
    pub(crate) async fn next(&mut self) -> SignalName {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
