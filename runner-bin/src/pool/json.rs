//! What the commands say to programs. Pure. The shapes are promised by
//! `docs/commands.md`.

use serde_json::{Value, json};
use vmpool_proto::v1::{LedgerMachine, LedgerSummary, Machine, Pool, StatusResponse, Trouble};

/// The pools, as `pool ls --json` has them.
pub(super) fn status(source: &str, status: &StatusResponse) -> Value {
    json!({
        "source": source,
        "runner_id": or_null(&status.runner_id),
        "version": or_null(&status.version),
        "deployment": or_null(&status.owner),
        "deployment_id": or_null(&status.deployment_id),
        "at_unix_ms": status.at_unix_ms,
        "pools": status.pools.iter().map(pool).collect::<Vec<_>>(),
        "troubles": status.troubles.iter().map(trouble).collect::<Vec<_>>(),
    })
}

fn pool(pool: &Pool) -> Value {
    let waiter = |waiter: &vmpool_proto::v1::Waiter| json!({ "stage_id": waiter.stage_id, "since_unix_ms": waiter.since_unix_ms });
    json!({
        "name": pool.name,
        "ours": pool.ours,
        "holder": or_null(&pool.holder),
        "unknown": pool.unknown,
        "term": pool.term,
        "warm": pool.warm,
        "limit": pool.limit,
        "ready": pool.ready,
        "booting": pool.booting,
        "ordered": pool.ordered,
        "claimed": pool.claimed,
        "ending": pool.ending,
        "waiting": pool.waiting,
        "stopped": or_null(&pool.stopped),
        "held_off": or_null(&pool.held_off),
        "unaccounted": pool.unaccounted,
        "checked_at_unix_ms": (pool.checked_at_unix_ms > 0).then_some(pool.checked_at_unix_ms),
        "machines": pool.machines.iter().map(machine).collect::<Vec<_>>(),
        "waiters": pool.waiters.iter().map(waiter).collect::<Vec<_>>(),
        "troubles": pool.troubles.iter().map(trouble).collect::<Vec<_>>(),
    })
}

fn machine(machine: &Machine) -> Value {
    json!({
        "id": machine.id,
        "state": machine.state,
        "since_unix_ms": machine.since_unix_ms,
        "stage_id": or_null(&machine.stage_id),
        "cause": machine.cause,
    })
}

fn trouble(trouble: &Trouble) -> Value {
    json!({
        "at_unix_ms": trouble.at_unix_ms,
        "machine_id": or_null(&trouble.machine_id),
        "text": trouble.text,
    })
}

/// A line of the ledger.
pub(super) fn ledger_machine(machine: &LedgerMachine) -> Value {
    json!({
        "id": machine.id,
        "pool": machine.pool,
        "order_id": or_null(&machine.order_id),
        "state": or_null(&machine.state),
        "launched_at_unix_ms": machine.launched_at_unix_ms,
        "since_unix_ms": machine.since_unix_ms,
        "cause": machine.cause,
        "unaccounted": or_null(&machine.unaccounted),
    })
}

/// Its last line.
pub(super) fn ledger_summary(source: &str, sum: &LedgerSummary) -> Value {
    json!({
        "summary": {
            "source": source,
            "machines": sum.machines,
            "ended": sum.ended,
            "alive": sum.alive,
            "unaccounted": sum.unaccounted,
            "unchecked": sum.unchecked,
        }
    })
}

fn or_null(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
