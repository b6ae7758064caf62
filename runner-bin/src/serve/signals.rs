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
    /// SIGHUP: read the pool file again. A terminal that is closed sends it,
    /// too, and then nothing is another than before.
    Reload,
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
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.upgrade.recv() => Signal::Upgrade,
            _ = self.hangup.recv() => Signal::Reload,
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
