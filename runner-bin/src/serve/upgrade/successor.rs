//! The old process's side: starts the new one and gives it what it needs.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{GO, READY, SERVING, sockets};
use crate::serve::doors::Doors;
use crate::serve::peer::Successor;

/// What tells a process that it is to replace another.
const REPLACE: &str = "--replace";

/// For reading files and options.
const UNTIL_READY: Duration = Duration::from_mins(1);

/// For a migration of the journal, and taking the pools.
const UNTIL_SERVING: Duration = Duration::from_mins(2);

/// Why the new process does not replace this one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("start {}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the new process ended with {status}; what it said is in the log")]
    Ended { status: ExitStatus },
    #[error("the new process said nothing for {after:?}")]
    Silent { after: Duration },
    #[error("speak to the new process")]
    Broken(#[source] io::Error),
    #[error("connect to the new process")]
    Connect(#[source] tonic::transport::Error),
}

/// The new process, before it serves. Dropped, it hears nothing more, and ends.
#[derive(Debug)]
pub(crate) struct Next {
    child: Child,
    channel: UnixStream,
}

/// The new process, serving. Dropping it leaves it alone.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    pub(crate) successor: Successor,
}

impl Next {
    /// Starts `program` with this process's own arguments, and waits until it
    /// could go on.
    ///
    /// # Cancel safety
    /// After a dropped call the new process ends by itself.
    pub(crate) async fn start(program: &Path, doors: &Doors) -> Result<Self, UpgradeError> {
        let failed = |source| UpgradeError::Start {
            program: program.to_owned(),
            source,
        };
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        let child = Command::new(program)
            .args(arguments())
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .map_err(failed)?;
        let sent = sockets::send(&ours, &doors.named());
        ours.set_nonblocking(true).map_err(UpgradeError::Broken)?;
        let channel = UnixStream::from_std(ours).map_err(UpgradeError::Broken)?;
        let mut next = Self { child, channel };
        if let Err(error) = sent {
            return Err(next.broken(error, UNTIL_READY).await);
        }
        next.hear(READY, UNTIL_READY).await?;
        Ok(next)
    }

    /// The process id.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets it take this process's place, which must be free by now.
    ///
    /// # Errors
    /// It did not: it is gone, and the place is free again.
    ///
    pub(crate) async fn go(mut self) -> Result<Serving, UpgradeError> {
        let serving = self.take_over().await;
        if serving.is_err() {
            // It must be gone before anybody else takes the place.
            let _ = self.child.kill().await;
        }
        serving?;
        let successor = Successor::over(self.channel).await;
        match successor {
            Ok(successor) => Ok(Serving {
                child: self.child,
                successor,
            }),
            Err(error) => {
                let _ = self.child.kill().await;
                Err(UpgradeError::Connect(error))
            }
        }
    }

    async fn take_over(&mut self) -> Result<(), UpgradeError> {
        let said = self.channel.write_u8(GO).await;
        said.map_err(UpgradeError::Broken)?;
        self.hear(SERVING, UNTIL_SERVING).await
    }

    async fn hear(&mut self, word: u8, patience: Duration) -> Result<(), UpgradeError> {
        match timeout(patience, self.channel.read_u8()).await {
            Err(_) => Err(UpgradeError::Silent { after: patience }),
            Ok(Ok(heard)) if heard == word => Ok(()),
            Ok(Ok(_)) => Err(UpgradeError::Broken(io::ErrorKind::InvalidData.into())),
            Ok(Err(error)) => Err(self.broken(error, patience).await),
        }
    }

    /// Why it can't be spoken to: because it has ended, most likely.
    async fn broken(&mut self, error: io::Error, patience: Duration) -> UpgradeError {
        match timeout(patience, self.child.wait()).await {
            Ok(Ok(status)) => UpgradeError::Ended { status },
            _ => UpgradeError::Broken(error),
        }
    }
}

impl Serving {
    /// The process id, while it lives.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// This process's own, and that it is a replacement.
fn arguments() -> Vec<OsString> {
    let own = std::env::args_os().skip(1);
    let own = own.filter(|argument| argument != REPLACE);
    own.chain([REPLACE.into()]).collect()
}
