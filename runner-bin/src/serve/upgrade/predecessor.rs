//! The new process's side: what it gets from the one that it replaces.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{GO, READY, SERVING, sockets};

/// The sockets are sent before this process runs.
const UNTIL_SOCKETS: Duration = Duration::from_secs(10);

/// The old process hands its runner over first, which takes writes of its journal.
const UNTIL_GO: Duration = Duration::from_mins(3);

/// The process that this one replaces.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: UnixStream,
}

impl Predecessor {
    /// Takes the listening sockets from standard input, which is closed then:
    /// no child of this process shall have it. Must be called within a tokio
    /// runtime; blocks shortly.
    ///
    /// # Errors
    /// Standard input is no channel to a runner.
    pub(crate) fn meet() -> anyhow::Result<(Self, HashMap<String, TcpListener>)> {
        let channel = channel().context("standard input is no channel to a runner")?;
        channel.set_read_timeout(Some(UNTIL_SOCKETS))?;
        let sockets = sockets::receive(&channel);
        let sockets = sockets.context("receive the sockets of the runner that is replaced")?;
        channel.set_nonblocking(true)?;
        let channel = UnixStream::from_std(channel)?;
        Ok((Self { channel }, sockets))
    }

    /// Says that this process could go on, and waits until it may.
    ///
    /// # Errors
    /// The old process thought better of it, or is gone.
    pub(crate) async fn wait_for_go(&mut self) -> anyhow::Result<()> {
        let told = async {
            self.channel.write_u8(READY).await?;
            self.channel.read_u8().await
        };
        let told = timeout(UNTIL_GO, told).await;
        match told.context("the runner that is replaced does not hand over")? {
            Ok(GO) => Ok(()),
            Ok(_) => anyhow::bail!("the runner that is replaced speaks another language"),
            Err(error) => Err(error).context("the runner that is replaced goes on, or is gone"),
        }
    }

    /// Says that this process serves. What comes from there now are its callers' requests.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) async fn serving(mut self) -> io::Result<UnixStream> {
        self.channel.write_u8(SERVING).await?;
        Ok(self.channel)
    }
}

fn channel() -> io::Result<StdUnixStream> {
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(StdUnixStream::from(channel))
}
