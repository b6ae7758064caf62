//! How a request, and what belongs to it, reaches a supervisor and then an
//! agent: one message over the socket that is their standard input, with open
//! descriptors beside it. So nothing of it is in an argument, in the
//! environment or on the disk, and no other child of the sender inherits it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use vmpool_core::MachineId;

use super::folder::Folder;
use super::request::Request;
use super::{AGENT, MARK, SUPERVISOR, TAGS};

/// The very file that this process runs, also when it was replaced meanwhile.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// Longest message, a little less than a socket takes by default.
const MESSAGE_MAX: usize = 128 * 1024;

/// Most descriptors beside a message.
const LINKS_MAX: usize = 3;

/// The open descriptors that a supervisor is given.
#[derive(Debug)]
pub struct Links<'a> {
    /// Where the agent will listen.
    pub listener: &'a TcpListener,
    /// The machine's folder, opened and locked.
    pub lock: &'a File,
    /// A pipe's reading end. The machine ends when the last writing end closes.
    pub lifeline: Option<BorrowedFd<'a>>,
}

/// What a supervisor, and then an agent, is told.
#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) folder: PathBuf,
    /// The sender's pid: whose end the agent shares.
    pub(super) sender: u32,
    pub(super) request: Request,
}

/// The command that starts a machine's supervisor, and the sender's end of the
/// socket for [`hand_over`]. The command holds the other end: drop it once it
/// is spawned. A supervisor that is told nothing ends.
pub fn command(
    program: &Path,
    machine: &MachineId,
    folder: &Folder,
    request: &Request,
) -> io::Result<(Command, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = process(program.as_os_str(), SUPERVISOR, machine, theirs);
    command.env(TAGS, serde_json::to_string(&request.tags)?);
    command.stdout(Stdio::null()).stderr(folder.open_console()?);
    Ok((command, ours))
}

/// Tells a supervisor, over its socket, what it needs.
pub fn hand_over(
    socket: &OwnedFd,
    folder: &Folder,
    request: &Request,
    links: &Links<'_>,
) -> io::Result<()> {
    let mut fds = vec![links.listener.as_fd(), links.lock.as_fd()];
    fds.extend(links.lifeline);
    send(socket, folder, request, &fds)
}

/// The command that starts a machine's agent, and the sender's end of its socket.
pub(super) fn agent_command(machine: &MachineId) -> io::Result<(Command, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = process(OsStr::new(THIS_PROGRAM), AGENT, machine, theirs);
    command.env_remove(TAGS);
    Ok((command, ours))
}

fn process(program: &OsStr, role: &str, machine: &MachineId, stdin: OwnedFd) -> Command {
    let mut command = Command::new(program);
    if program == THIS_PROGRAM {
        command.arg0(std::env::args_os().next().unwrap_or_else(|| program.into()));
    }
    command
        .arg(role)
        .arg(machine.as_str())
        .env(MARK, machine.as_str());
    command.stdin(stdin);
    command
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    // Sequenced packets: a message arrives whole, with its descriptors, or not at all.
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

pub(super) fn send(
    socket: &OwnedFd,
    folder: &Folder,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let message = Message {
        folder: folder.path().to_owned(),
        sender: std::process::id(),
        request: request.clone(),
    };
    let bytes = serde_json::to_vec(&message)?;
    if bytes.len() > MESSAGE_MAX {
        return Err(io::Error::other("the request is longer than 128 KiB"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINKS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Waits for the message; `None` if the sender is gone, or has none.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINKS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let buffer = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, buffer, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::other("the message was cut"));
    }
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    Ok(Some((
        serde_json::from_slice(&bytes[..received.bytes])?,
        fds,
    )))
}
