//! What the commands say to programs. Pure. The shapes are promised by
//! `docs/commands.md`.

use serde_json::{Value, json};
use vmpool_proto::v1::{LedgerMachine, LedgerSummary, StatusResponse};

use crate::told;

/// The pools, as `pool ls --json` has them.
pub(super) fn status(source: &str, status: &StatusResponse) -> Value {
    json!(told::Pools::of(source, status))
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
