//! A holder process from its birth to its end.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::unistd::{Pid, setsid};
use vmpool_core::{Clock, StepOutcome};

use super::RECORDS;
use super::child::AtGate;
use super::hold::{Hold, Waker, watch_signals};
use super::messages::{GO, Order, Ready, read_frame_len, to_frame};
use crate::limits::Group;
use crate::process::ProcessId;
use crate::records::{Entry, Reader, Records};

/// Holds the step that the agent orders.
pub(super) fn hold_one_step(mut agent: UnixStream) -> io::Result<()> {
    setsid()?;
    prctl::set_child_subreaper(true)?;
    let Some(order) = read_order(&mut agent)? else {
        return Ok(());
    };
    let signals = watch_signals()?;
    let step = AtGate::fork(&order);
    let mut group = Group::make(order.limits, &order.host, &order.name);
    if let Ok(step) = &step {
        group.add(step.pid);
    }
    let ready = step.as_ref().map_err(ToString::to_string).and_then(|_| {
        ProcessId::of(Pid::this()).map_err(|error| format!("find the holder: {error}"))
    });
    agent.write_all(&to_frame(&Ready(ready))?)?;

    // The agent records the step meanwhile.
    let records = Records::open(&order.host.join(RECORDS))?;
    let mut waker = Waker::open(&order.host)?;
    let hold = Hold::new(&order, step?, signals, &group, &mut waker);
    if !may_go(&mut agent, &order)? {
        // Nothing was executed.
        drop(hold);
        group.remove();
        return Ok(());
    }
    drop(agent);
    let clock = Clock::system();
    let started_at = clock.now();
    let (status, log_end) = hold.see_to_end();
    // Before the end is told: who learns of it finds nothing left.
    group.remove();
    let outcome = StepOutcome {
        status,
        started_at,
        ended_at: clock.now(),
        log_end,
    };
    records.add(&Entry::Ended {
        id: order.id,
        outcome,
    })?;
    waker.wake();
    Ok(())
}

/// Waits for the agent's word. An agent that ended without one may have
/// recorded the step before: then the next one counts on it.
fn may_go(agent: &mut UnixStream, order: &Order) -> io::Result<bool> {
    let mut answer = [0];
    if agent.read_exact(&mut answer).is_ok() {
        return Ok(answer == [GO]);
    }
    let me = ProcessId::of(Pid::this())?;
    let recorded = Reader::open(&order.host.join(RECORDS))?.news()?;
    let is_mine = |entry: &Entry| matches!(entry, Entry::Started { holder, .. } if *holder == me);
    Ok(recorded.iter().any(is_mine))
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
