//! Pools.

use serde::Serialize;
use utoipa::ToSchema;
use vmpool_proto::v1;

use super::{or_null, time_or_null};

/// Pools at one moment.
#[expect(clippy::struct_field_names, reason = "as programs know it")]
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pools {
    /// Who says so: a runner, or a journal.
    pub(crate) source: String,
    /// The runner that was asked.
    pub(crate) runner_id: Option<String>,
    pub(crate) version: Option<String>,
    /// The deployment's name.
    pub(crate) deployment: Option<String>,
    pub(crate) deployment_id: Option<String>,
    pub(crate) at_unix_ms: u64,
    pub(crate) pools: Vec<Pool>,
    /// What went wrong lately with the runner as a whole.
    pub(crate) troubles: Vec<Trouble>,
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// The runner that was asked owns it; else its numbers are the journal's.
    pub(crate) ours: bool,
    /// The runner that owns it, where another one does.
    pub(crate) holder: Option<String>,
    /// The journal has machines of it, and it is not in the runner's pool file.
    pub(crate) unknown: bool,
    pub(crate) term: u64,
    /// Machines kept ready.
    pub(crate) warm: Option<u32>,
    /// Machines at most.
    pub(crate) limit: Option<u32>,
    pub(crate) ready: u32,
    pub(crate) booting: u32,
    /// Slots of orders that no machine fills yet.
    pub(crate) ordered: u32,
    /// Machines that stages have.
    pub(crate) claimed: u32,
    /// Machines that somebody keeps after their stages' ends.
    pub(crate) held: u32,
    /// Machines on their way out.
    pub(crate) ending: u32,
    /// Requests that wait for a machine.
    pub(crate) waiting: u32,
    /// Why it takes no requests until somebody mends it.
    pub(crate) stopped: Option<String>,
    /// Somebody has said that it takes no new stages.
    pub(crate) cordon: Option<Cordon>,
    /// Why nothing is ordered now, and until when.
    pub(crate) held_off: Option<String>,
    /// Machines that are not accounted for; must be none.
    pub(crate) unaccounted: u32,
    /// When it was last held against what its provider has.
    pub(crate) checked_at_unix_ms: Option<u64>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) waiters: Vec<Waiter>,
    /// What went wrong lately, the latest last.
    pub(crate) troubles: Vec<Trouble>,
}

/// Why a pool takes no new stages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cordon {
    /// Machines that no stage has are ended, too.
    pub(crate) drains: bool,
    pub(crate) by: String,
    pub(crate) why: Option<String>,
    pub(crate) at_unix_ms: u64,
}

/// A machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Machine {
    pub(crate) id: String,
    /// `booting`, `ready`, `claimed`, `draining`, `terminating`, …
    pub(crate) state: String,
    pub(crate) since_unix_ms: u64,
    /// The stage that has it, or had it.
    pub(crate) stage_id: Option<String>,
    /// Why it is in that state.
    pub(crate) cause: String,
    /// Somebody keeps it, or will after its stage's end.
    pub(crate) hold: Option<Hold>,
}

/// A machine that somebody keeps after its stage's end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hold {
    pub(crate) by: String,
    pub(crate) why: Option<String>,
    pub(crate) at_unix_ms: u64,
    /// How long, from the stage's end, or from when that was said where it had ended.
    pub(crate) lasts_ms: u64,
    /// None: its stage goes on.
    pub(crate) until_unix_ms: Option<u64>,
}

/// What came of asking for a machine to be kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Held {
    pub(crate) machine_id: String,
    pub(crate) pool: String,
    pub(crate) hold: Option<Hold>,
    /// Where its agent listens.
    pub(crate) address: Option<String>,
    /// The machine is not there longer.
    pub(crate) expires_at_unix_ms: u64,
    /// What it costs at this moment, in US dollars. None: not known.
    pub(crate) dollars_an_hour: Option<f64>,
}

/// A request that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiter {
    pub(crate) stage_id: String,
    pub(crate) since_unix_ms: u64,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trouble {
    pub(crate) at_unix_ms: u64,
    pub(crate) machine_id: Option<String>,
    pub(crate) text: String,
}

impl Pools {
    /// What `source` says.
    pub(crate) fn of(source: &str, status: &v1::StatusResponse) -> Self {
        Self {
            source: source.to_owned(),
            runner_id: or_null(&status.runner_id),
            version: or_null(&status.version),
            deployment: or_null(&status.owner),
            deployment_id: or_null(&status.deployment_id),
            at_unix_ms: status.at_unix_ms,
            pools: status.pools.iter().map(Pool::from).collect(),
            troubles: status.troubles.iter().map(Trouble::from).collect(),
        }
    }
}

impl From<&v1::Pool> for Pool {
    fn from(pool: &v1::Pool) -> Self {
        let cordon = pool.cordon.as_ref().map(|cordon| Cordon {
            drains: cordon.drains,
            by: cordon.by.clone(),
            why: or_null(&cordon.why),
            at_unix_ms: cordon.at_unix_ms,
        });
        let machine = |machine: &v1::Machine| Machine {
            id: machine.id.clone(),
            state: machine.state.clone(),
            since_unix_ms: machine.since_unix_ms,
            stage_id: or_null(&machine.stage_id),
            cause: machine.cause.clone(),
            hold: machine.hold.as_ref().map(Hold::from),
        };
        let waiter = |waiter: &v1::Waiter| Waiter {
            stage_id: waiter.stage_id.clone(),
            since_unix_ms: waiter.since_unix_ms,
        };
        Self {
            name: pool.name.clone(),
            ours: pool.ours,
            holder: or_null(&pool.holder),
            unknown: pool.unknown,
            term: pool.term,
            warm: pool.warm,
            limit: pool.limit,
            ready: pool.ready,
            booting: pool.booting,
            ordered: pool.ordered,
            claimed: pool.claimed,
            held: pool.held,
            ending: pool.ending,
            waiting: pool.waiting,
            stopped: or_null(&pool.stopped),
            cordon,
            held_off: or_null(&pool.held_off),
            unaccounted: pool.unaccounted,
            checked_at_unix_ms: time_or_null(pool.checked_at_unix_ms),
            machines: pool.machines.iter().map(machine).collect(),
            waiters: pool.waiters.iter().map(waiter).collect(),
            troubles: pool.troubles.iter().map(Trouble::from).collect(),
        }
    }
}

impl From<&v1::MachineHold> for Hold {
    fn from(hold: &v1::MachineHold) -> Self {
        Self {
            by: hold.by.clone(),
            why: or_null(&hold.why),
            at_unix_ms: hold.at_unix_ms,
            lasts_ms: hold.lasts_ms,
            until_unix_ms: time_or_null(hold.until_unix_ms),
        }
    }
}

impl From<&v1::HoldResponse> for Held {
    fn from(held: &v1::HoldResponse) -> Self {
        Self {
            machine_id: held.machine_id.clone(),
            pool: held.pool.clone(),
            hold: held.hold.as_ref().map(Hold::from),
            address: or_null(&held.address),
            expires_at_unix_ms: held.expires_at_unix_ms,
            dollars_an_hour: held.dollars_an_hour,
        }
    }
}

impl From<&v1::Trouble> for Trouble {
    fn from(trouble: &v1::Trouble) -> Self {
        Self {
            at_unix_ms: trouble.at_unix_ms,
            machine_id: or_null(&trouble.machine_id),
            text: trouble.text.clone(),
        }
    }
}
