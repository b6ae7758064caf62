//! A holder process from its birth to its end.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::unistd::{Pid, dup2_stderr, setsid};
use vmpool_core::{Clock, StepOutcome, StepStatus};

use super::child::AtGate;
use super::hold::{Hold, Waker, watch_signals};
use super::messages::{GO, Order, Ready, read_frame_len, to_frame};
use super::outcome::OutcomeFile;
use crate::process::ProcessId;

/// What a holder says of its own failure; a file of the step's directory.
pub(crate) const COMPLAINTS: &str = "holder.stderr";

/// Holds the step that the agent orders.
pub(super) fn hold_one_step(mut agent: UnixStream) -> io::Result<()> {
    setsid()?;
    prctl::set_child_subreaper(true)?;
    let Some(order) = read_order(&mut agent)? else {
        return Ok(());
    };
    let signals = watch_signals()?;
    let step = AtGate::fork(&order);
    let ready = step.as_ref().map_err(ToString::to_string).and_then(|_| {
        ProcessId::of(Pid::this()).map_err(|error| format!("find the holder: {error}"))
    });
    agent.write_all(&to_frame(&Ready(ready))?)?;
    let step = step?;

    // The agent records the step meanwhile.
    dup2_stderr(File::create(order.dir.join(COMPLAINTS))?)?;
    let outcome = OutcomeFile::reserve(&order.dir)?;
    let mut waker = Waker::open(&order.dir)?;
    let clock = Clock::system();
    let started_at = clock.now();
    let hold = Hold::new(&order, step, signals, &mut waker);
    let (status, log_end) = match hold.and_then(|hold| await_go(&mut agent).map(|()| hold)) {
        Ok(hold) => {
            drop(agent);
            hold.see_to_end()
        }
        // The agent may wait for this end, so its socket stays open until then.
        Err(reason) => (StepStatus::NotStarted { reason }, 0),
    };
    outcome.publish(&StepOutcome {
        status,
        started_at,
        ended_at: clock.now(),
        log_end,
    })?;
    waker.wake();
    Ok(())
}

/// Waits until the agent has recorded the step.
fn await_go(agent: &mut UnixStream) -> Result<(), String> {
    let mut answer = [0];
    match agent.read_exact(&mut answer) {
        Ok(()) if answer == [GO] => Ok(()),
        _ => Err("the agent ended before it had recorded the step".into()),
    }
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
