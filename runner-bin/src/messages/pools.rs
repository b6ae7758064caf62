//! Pools and their machines.

use vmpool_core::journal::{MachineRow, OrderRow, Ownership, PoolRows};
use vmpool_core::machine::MachineState;
use vmpool_core::pool::{Evidence, MachineStatus, PoolStatus};
use vmpool_core::runner::{PoolOwner, PoolStanding};
use vmpool_proto::v1::{Machine, Pool, Trouble, Waiter};

/// A pool as its runner sees it.
pub(crate) fn standing(standing: PoolStanding) -> Pool {
    let pool = match standing.status {
        Some(status) => ruled(status),
        None => Pool::default(),
    };
    Pool {
        name: standing.name.to_string(),
        ours: standing.owner == PoolOwner::Ours,
        unknown: standing.owner == PoolOwner::Unknown,
        holder: match standing.owner {
            PoolOwner::Theirs(holder) => holder.runner.to_string(),
            PoolOwner::Ours | PoolOwner::Nobodys | PoolOwner::Unknown => String::new(),
        },
        ..pool
    }
}

fn ruled(status: PoolStatus) -> Pool {
    let waiters = status.waiters.into_iter().map(|waiter| Waiter {
        stage_id: waiter.stage.to_string(),
        since_unix_ms: waiter.since.0,
    });
    Pool {
        term: status.term.0,
        warm: Some(status.warm),
        limit: Some(status.limit),
        ready: status.ready,
        booting: status.booting,
        ordered: status.ordered,
        claimed: status.claimed,
        ending: status.ending,
        waiting: status.waiting,
        stopped: status.stopped.unwrap_or_default(),
        held_off: status.held_off.unwrap_or_default(),
        unaccounted: u32::try_from(status.unaccounted.len()).unwrap_or(u32::MAX),
        checked_at_unix_ms: status.checked_at.unwrap_or_default().0,
        machines: status.machines.into_iter().map(machine).collect(),
        troubles: status.evidence.into_iter().map(trouble).collect(),
        waiters: waiters.collect(),
        ..Pool::default()
    }
}

fn machine(status: MachineStatus) -> Machine {
    Machine {
        id: status.id.to_string(),
        state: status.state.to_string(),
        since_unix_ms: status.since.0,
        stage_id: status.stage.map(|id| id.to_string()).unwrap_or_default(),
        cause: status.cause.into_owned(),
    }
}

/// What went wrong.
pub(crate) fn trouble(evidence: Evidence) -> Trouble {
    Trouble {
        at_unix_ms: evidence.at.0,
        machine_id: evidence
            .machine
            .map(|id| id.to_string())
            .unwrap_or_default(),
        text: evidence.text,
    }
}

/// A pool as its rows say: what only its runner knows is left out.
pub(crate) fn from_journal(pool: &Ownership, rows: &PoolRows) -> Pool {
    let machine = |row: &MachineRow| Machine {
        id: row.id().to_string(),
        state: row.state.to_string(),
        since_unix_ms: row.since.0,
        // A machine that is on its way out has no stage any more.
        stage_id: match (&row.stage, row.state) {
            (Some(stage), MachineState::Claimed) => stage.to_string(),
            _ => String::new(),
        },
        cause: row.cause.clone().into_owned(),
    };
    let count = |states: &[MachineState]| {
        let of = rows.machines.iter();
        let of = of.filter(|row| states.contains(&row.state));
        u32::try_from(of.count()).unwrap_or(u32::MAX)
    };
    let open = |row: &OrderRow| row.state.open;
    let holder = if pool.left.is_zero() {
        String::new()
    } else {
        pool.holder.runner.to_string()
    };
    Pool {
        name: pool.pool.to_string(),
        holder,
        term: pool.term.0,
        ready: count(&[MachineState::Ready]),
        booting: count(&[MachineState::Booting, MachineState::Resuming]),
        ordered: rows.orders.iter().map(|row| open(row)).sum(),
        claimed: count(&[MachineState::Claimed]),
        ending: count(&[MachineState::Draining, MachineState::Terminating]),
        machines: rows.machines.iter().map(|row| machine(row)).collect(),
        ..Pool::default()
    }
}
