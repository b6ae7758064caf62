//! The signals of a serving process.

use std::io;

use tokio::signal::unix::{Signal as Caught, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM, SIGINT: stop; the second time at once.
    Stop(&'static str),
    /// SIGUSR2: let a new process go on.
    Upgrade,
}

/// The signals, from now on caught.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Caught,
    terminate: Caught,
    upgrade: Caught,
    hangup: Caught,
}

impl Signals {
    /// Must be called within a tokio runtime.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            upgrade: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    ///
    /// # Cancel safety
    /// Safe: a dropped call loses nothing.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Signal::Stop("SIGINT"),
                _ = self.terminate.recv() => return Signal::Stop("SIGTERM"),
                _ = self.upgrade.recv() => return Signal::Upgrade,
                // The terminal that it was started from is closed: it stays.
                _ = self.hangup.recv() => tracing::info!("SIGHUP has no effect"),
            }
        }
    }

    /// The next signal to stop; others are passed over.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            if let Signal::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
