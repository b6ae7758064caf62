//! The nursery: a process without threads that forks the holders of a stage.
//!
//! To fork a small process takes a tenth of the time that it takes to start a
//! program, and it shares its memory. The nursery ends when its agent does;
//! the holders that it forked go on.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, dup2_stdin, fork, setsid};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::run::hold_one_step;

/// The hidden first argument that makes a process a nursery.
pub(crate) const ARGUMENT: &str = "hold-steps";

/// Makes this process hold steps, if it was started for that; then it does not
/// return.
///
/// Each binary that hosts steps calls this first in `main`, before it starts
/// threads: the processes beside its steps are the same binary with a hidden
/// argument.
pub fn run_holder_if_asked() {
    if std::env::args_os()
        .nth(1)
        .is_none_or(|argument| argument != ARGUMENT)
    {
        return;
    }
    // Both the nursery and each holder that it forks come out here.
    if let Err(error) = serve() {
        eprintln!("{error}");
        exit(1);
    }
    exit(0);
}

fn serve() -> io::Result<()> {
    let agent = cut_loose()?;
    loop {
        let Some(holders_end) = next_request(&agent)? else {
            return Ok(());
        };
        #[expect(unsafe_code, reason = "std can't fork without executing at once")]
        // SAFETY: the nursery has a single thread, so the child may do all that the parent may.
        let forked = unsafe { fork() };
        if let Ok(ForkResult::Child) = forked {
            drop(agent);
            default_action(Signal::SIGCHLD)?;
            return hold_one_step(holders_end.into());
        }
        // Where there is no child the agent sees its end close.
    }
}

/// Cuts the ties to the agent, all but the socket that is returned.
fn cut_loose() -> io::Result<UnixStream> {
    close_inherited()?;
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(File::open("/dev/null")?)?;
    // A signal to the agent's terminal is not meant for steps.
    setsid()?;
    // A step of the same user may not look into the holder of another.
    prctl::set_dumpable(false)?;
    // Nobody waits for holders: they tell by files.
    set_action(Signal::SIGCHLD, SigHandler::SigIgn)?;
    Ok(agent)
}

/// Closes what the program that started this one left open for its children, so
/// that neither it nor its own children keep a port or a pipe of that program.
pub(crate) fn close_inherited() -> io::Result<()> {
    let names: io::Result<Vec<_>> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    let open = names?
        .into_iter()
        .filter_map(|name| name.to_str()?.parse::<i32>().ok());
    for fd in open.filter(|fd| *fd > 2) {
        // The listing's own descriptor is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// The socket of the holder that is wanted next; `None` when the agent is gone.
fn next_request(agent: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        match recvmsg(agent, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut sockets) = message
                && let Some(socket) = sockets.next()
            {
                return Ok(Some(socket));
            }
        }
    }
}

/// Gives a signal its default action.
pub(super) fn default_action(signal: Signal) -> nix::Result<()> {
    set_action(signal, SigHandler::SigDfl)
}

fn set_action(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[expect(
        unsafe_code,
        reason = "setting a signal's action is unsafe for handlers"
    )]
    // SAFETY: both callers give an action that runs no code of ours.
    unsafe { sigaction(signal, &action) }.map(drop)
}
