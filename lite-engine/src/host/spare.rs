//! Holders that have no step yet. One is kept ready while a stage is there,
//! because to start a program takes longer than all else that begins a step.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::Shared;
use crate::holder::{ARGUMENT, GO, Ready, read_frame_len};

/// A holder process. It ends by itself when this is dropped before its step was let go.
#[derive(Debug)]
pub(super) struct Holder {
    process: Child,
    agent: UnixStream,
}

impl Shared {
    /// The holder that was kept ready, or a new one.
    pub(super) fn take_holder(&self) -> io::Result<Holder> {
        let ready = self.table.lock().ready_holder.take();
        // One that was killed meanwhile is of no use.
        match ready.and_then(Holder::if_alive) {
            Some(holder) => Ok(holder),
            None => Holder::spawn(&self.config.holder_program),
        }
    }

    /// Makes one ready for the next step, without waiting for it.
    pub(super) fn keep_holder_ready(self: &Arc<Self>) {
        let shared = self.clone();
        self.watchers.spawn_blocking(move || {
            // If this fails the next step tries it itself, and tells what is wrong.
            let holder = Holder::spawn(&shared.config.holder_program).ok();
            let mut table = shared.table.lock();
            if !table.sealed && table.ready_holder.is_none() {
                table.ready_holder = holder;
            }
        });
    }
}

impl Holder {
    fn spawn(program: &Path) -> io::Result<Self> {
        let (agent, holder) = std::os::unix::net::UnixStream::pair()?;
        agent.set_nonblocking(true)?;
        let process = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(holder))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            process,
            agent: UnixStream::from_std(agent)?,
        })
    }

    fn if_alive(mut self) -> Option<Self> {
        matches!(self.process.try_wait(), Ok(None)).then_some(self)
    }

    /// Gives the order and waits until the step stands at the gate.
    pub(super) async fn give(&mut self, order: &[u8]) -> io::Result<Ready> {
        self.agent.write_all(order).await?;
        let mut head = [0; 4];
        self.agent.read_exact(&mut head).await?;
        let mut answer = vec![0; read_frame_len(head)?];
        self.agent.read_exact(&mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Opens the gate.
    pub(super) async fn let_go(&mut self) -> io::Result<()> {
        self.agent.write_all(&[GO]).await
    }

    /// Ends the holder of a step that was not let go.
    pub(super) async fn kill(mut self) {
        // An error means that it is gone already.
        let _ = self.process.kill().await;
    }

    /// The process of a holder that goes on by itself now.
    pub(super) fn into_process(self) -> Child {
        self.process
    }
}
