//! The ledger.

use vmpool_core::ledger::{Entry, Totals};
use vmpool_proto::v1::ledger_line::Kind;
use vmpool_proto::v1::{LedgerLine, LedgerMachine, LedgerSummary};

/// A machine that was ever seen.
pub(crate) fn ledger_entry(entry: Entry) -> LedgerLine {
    let machine = LedgerMachine {
        id: entry.machine.to_string(),
        pool: entry.pool.to_string(),
        unaccounted: entry.unaccounted.map(String::from).unwrap_or_default(),
        ..LedgerMachine::default()
    };
    let machine = match entry.row {
        Some(row) => LedgerMachine {
            order_id: row.machine.order.to_string(),
            state: row.state.to_string(),
            launched_at_unix_ms: row.launched_at.0,
            since_unix_ms: row.since.0,
            cause: row.cause.clone().into_owned(),
            ..machine
        },
        None => machine,
    };
    LedgerLine {
        kind: Some(Kind::Machine(machine)),
    }
}

/// What it adds up to.
pub(crate) fn ledger_sum(totals: Totals, unchecked: Vec<String>) -> LedgerLine {
    LedgerLine {
        kind: Some(Kind::Summary(LedgerSummary {
            machines: totals.machines,
            ended: totals.ended,
            alive: totals.alive,
            unaccounted: totals.unaccounted,
            unchecked,
        })),
    }
}
