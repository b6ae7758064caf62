//! A holder process from its first instruction to its last.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::sys::prctl;
use nix::unistd::{dup2_stderr, dup2_stdin, setsid};
use vmpool_core::{Clock, StepOutcome, StepStatus};

use super::hold::{Hold, Waker};
use super::messages::{Order, read_frame_len};
use super::outcome::OutcomeFile;

/// The hidden first argument that makes a process a holder.
pub(crate) const ARGUMENT: &str = "hold-step";

/// What a holder says of its own failure; a file of the step's directory.
pub(crate) const COMPLAINTS: &str = "holder.stderr";

/// Makes this process the holder of a step, if it was started to be one; then
/// it does not return.
///
/// Each binary that hosts steps calls this first in `main`, before it starts
/// threads: a holder is the same binary with a hidden argument.
pub fn run_holder_if_asked() {
    if std::env::args_os()
        .nth(1)
        .is_none_or(|argument| argument != ARGUMENT)
    {
        return;
    }
    if let Err(error) = hold_one_step() {
        // The agent finds this in the step's directory and no status there.
        eprintln!("{error}");
        exit(1);
    }
    exit(0);
}

fn hold_one_step() -> io::Result<()> {
    let mut agent = become_holder()?;
    let Some(order) = read_order(&mut agent)? else {
        return Ok(());
    };
    dup2_stderr(File::create(order.dir.join(COMPLAINTS))?)?;
    let outcome = OutcomeFile::reserve(&order.dir)?;
    let mut waker = Waker::open(&order.dir)?;

    let clock = Clock::system();
    let started_at = clock.now();
    let ended = Hold::of(&order, agent, &mut waker).map(Hold::see_to_end);
    let (status, log_end) = ended.unwrap_or_else(|reason| (StepStatus::NotStarted { reason }, 0));
    outcome.publish(&StepOutcome {
        status,
        started_at,
        ended_at: clock.now(),
        log_end,
    })?;
    waker.wake();
    Ok(())
}

/// Cuts the ties to the agent, all but the socket that is returned.
fn become_holder() -> io::Result<UnixStream> {
    close_inherited()?;
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(File::open("/dev/null")?)?;
    setsid()?;
    prctl::set_child_subreaper(true)?;
    // A step of the same user may not look into the holder of another.
    prctl::set_dumpable(false)?;
    Ok(agent)
}

/// Closes what the agent's program left open for its children, so that neither
/// holder nor step keeps a port or a pipe of it.
fn close_inherited() -> io::Result<()> {
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

/// The order; `None` when the agent ended, or has no use for this holder.
fn read_order(agent: &mut UnixStream) -> io::Result<Option<Order>> {
    let mut head = [0; 4];
    match agent.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut frame = vec![0; read_frame_len(head)?];
    agent.read_exact(&mut frame)?;
    Ok(Some(serde_json::from_slice(&frame)?))
}
