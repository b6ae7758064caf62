//! Pools and their machines.

use vmpool_core::journal::{Cordon, MachineRow, OrderRow, Ownership, PoolRows};
use vmpool_core::machine::{Hold, MachineState};
use vmpool_core::pool::{Evidence, MachineStatus, PoolStatus};
use vmpool_core::runner::{PoolOwner, PoolStanding};
use vmpool_proto::v1::{self, Machine, Pool, Trouble, Waiter};

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
        held: status.held,
        waiting: status.waiting,
        stopped: status.stopped.unwrap_or_default(),
        held_off: status.held_off.unwrap_or_default(),
        unaccounted: u32::try_from(status.unaccounted.len()).unwrap_or(u32::MAX),
        checked_at_unix_ms: status.checked_at.unwrap_or_default().0,
        machines: status.machines.into_iter().map(machine).collect(),
        troubles: status.evidence.into_iter().map(trouble).collect(),
        waiters: waiters.collect(),
        cordon: status.cordon.as_deref().map(cordon),
        ..Pool::default()
    }
}

fn cordon(cordon: &Cordon) -> v1::Cordon {
    v1::Cordon {
        drains: cordon.drains,
        by: cordon.by.to_string(),
        why: cordon.why.to_string(),
        at_unix_ms: cordon.at.0,
    }
}

fn machine(status: MachineStatus) -> Machine {
    Machine {
        id: status.id.to_string(),
        state: status.state.to_string(),
        since_unix_ms: status.since.0,
        stage_id: status.stage.map(|id| id.to_string()).unwrap_or_default(),
        cause: status.cause.into_owned(),
        hold: status.hold.as_deref().map(hold),
    }
}

fn hold(hold: &Hold) -> v1::MachineHold {
    v1::MachineHold {
        by: hold.by.to_string(),
        why: hold.why.to_string(),
        at_unix_ms: hold.at.0,
        lasts_ms: super::millis(hold.lasts),
        until_unix_ms: hold.until.unwrap_or_default().0,
    }
}

/// A machine that is held, or will be.
pub(crate) fn held(row: &MachineRow, dollars_an_hour: Option<f64>) -> v1::HoldResponse {
    v1::HoldResponse {
        machine_id: row.id().to_string(),
        pool: row.machine.pool.to_string(),
        hold: row.hold.as_deref().map(hold),
        address: row
            .machine
            .address
            .map(|address| address.ip().to_string())
            .unwrap_or_default(),
        expires_at_unix_ms: row.expires_at.0,
        dollars_an_hour,
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
            (Some(stage), MachineState::Claimed | MachineState::Held) => stage.to_string(),
            _ => String::new(),
        },
        cause: row.cause.clone().into_owned(),
        hold: row.hold.as_deref().map(hold),
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
        held: count(&[MachineState::Held]),
        ending: count(&[MachineState::Draining, MachineState::Terminating]),
        machines: rows.machines.iter().map(|row| machine(row)).collect(),
        cordon: rows.cordon.as_ref().map(cordon),
        ..Pool::default()
    }
}
