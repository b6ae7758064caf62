//! The agent's side of the nursery, the process that forks holders.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::Shared;
use crate::holder::{ARGUMENT, GO, NO, Ready, read_frame_len};
use crate::process::ProcessId;
use crate::supervisor::MARK;

/// A nursery. It ends when this is dropped; its holders don't.
#[derive(Debug)]
pub(super) struct Nursery {
    requests: StdStream,
    /// Dropped with the nursery, and then reaped by tokio.
    _process: Child,
}

impl Nursery {
    fn spawn(program: &Path, complaints: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let complaints = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(complaints)?;
        let (requests, nursery) = StdStream::pair()?;
        let process = Command::new(program)
            .arg(ARGUMENT)
            // Its environment is not to be seen, so its arguments name the machine.
            .args(std::env::var_os(MARK))
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(nursery))
            .stdout(Stdio::null())
            .stderr(complaints)
            .spawn()?;
        Ok(Self {
            requests,
            _process: process,
        })
    }

    /// Asks for a holder.
    fn fork(&self) -> io::Result<Holder> {
        let (agent, holder) = StdStream::pair()?;
        let sockets = [holder.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&sockets));
        sendmsg(
            &self.requests,
            &[IoSlice::new(b"!")],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        agent.set_nonblocking(true)?;
        Ok(Holder {
            agent: UnixStream::from_std(agent)?,
        })
    }
}

/// A holder whose step was not let go. Dropping it ends it, unless its step is
/// recorded.
#[derive(Debug)]
pub(super) struct Holder {
    agent: UnixStream,
}

impl Shared {
    /// A new holder, from the nursery that is there or from a new one.
    pub(super) fn new_holder(&self) -> io::Result<Holder> {
        let mut nursery = self.nursery.lock();
        if let Some(holder) = nursery.as_ref().and_then(|nursery| nursery.fork().ok()) {
            return Ok(holder);
        }
        nursery
            .insert(Nursery::spawn(
                &self.config.holder_program,
                &self.complaints_file(),
            )?)
            .fork()
    }

    /// Starts a nursery where there is none, without waiting for it.
    pub(super) fn keep_nursery(self: &Arc<Self>) {
        let shared = self.clone();
        self.watchers.spawn_blocking(move || {
            let mut nursery = shared.nursery.lock();
            if nursery.is_none() {
                // If this fails the first step tries it again, and tells what is wrong.
                *nursery =
                    Nursery::spawn(&shared.config.holder_program, &shared.complaints_file()).ok();
            }
        });
    }
}

impl Holder {
    /// Gives the order and waits until the step stands at the gate.
    pub(super) async fn give(&mut self, order: &[u8]) -> io::Result<ProcessId> {
        self.agent.write_all(order).await?;
        let mut head = [0; 4];
        self.agent.read_exact(&mut head).await?;
        let mut answer = vec![0; read_frame_len(head)?];
        self.agent.read_exact(&mut answer).await?;
        let Ready(ready) = serde_json::from_slice(&answer)?;
        ready.map_err(io::Error::other)
    }

    /// Opens the gate. From here on the holder needs nobody.
    pub(super) async fn let_go(mut self) {
        // Should the holder be gone by now, its watcher tells.
        let _ = self.agent.write_all(&[GO]).await;
    }

    /// Keeps the gate shut, though the step is recorded.
    pub(super) async fn give_up(mut self) {
        // One that is gone has executed nothing.
        let _ = self.agent.write_all(&[NO]).await;
    }
}
