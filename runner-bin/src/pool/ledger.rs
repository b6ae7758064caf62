//! `vmpool pool ledger`: each machine ever seen with its end. Written as it is
//! read, since it only grows.

use std::fmt::Write as _;
use std::time::Duration;

use vmpool_proto::v1::ledger_line::Kind;
use vmpool_proto::v1::{LedgerMachine, LedgerSummary};

use super::args::ShownArgs;
use super::json;
use super::ls::machines as count;
use crate::client::Source;
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::screen::{human, printable, when};

/// Widths that most ids need: what is longer pushes its line to the right.
const HEADER: [(&str, usize); 5] = [
    ("MACHINE", 22),
    ("POOL", 10),
    ("STATE", 11),
    ("LAUNCHED", 20),
    ("LIVED", 9),
];

pub(super) async fn ledger(args: &ShownArgs) -> Result<Exit, Stopped> {
    let source = args.source.open().await?;
    let mut ledger = source.ledger(args.pool.as_deref()).await?;
    let mut told = 0_u64;
    let mut sum = None;
    loop {
        let lines = ledger.next().await?;
        if lines.is_empty() {
            break;
        }
        let mut out = String::new();
        for line in lines {
            match line.kind {
                Some(Kind::Machine(machine)) => {
                    if args.json {
                        let _ = writeln!(out, "{}", json::ledger_machine(&machine));
                    } else {
                        if told == 0 {
                            out.push_str(&header());
                        }
                        out.push_str(&row(&machine));
                    }
                    told += 1;
                }
                Some(Kind::Summary(last)) => sum = Some(last),
                None => {}
            }
        }
        say(out)?;
    }
    let sum = sum.unwrap_or_default();
    say(if args.json {
        format!("{}\n", json::ledger_summary(&source.to_string(), &sum))
    } else {
        summary(&source, &sum)
    })?;
    Ok(if sum.unaccounted == 0 {
        Exit::Success
    } else {
        Exit::Failed
    })
}

fn header() -> String {
    let mut line = String::new();
    for (name, width) in HEADER {
        let _ = write!(line, "{name:width$}  ");
    }
    line + "END\n"
}

fn row(machine: &LedgerMachine) -> String {
    let is_over = matches!(machine.state.as_str(), "gone" | "lost");
    let lived = machine
        .since_unix_ms
        .saturating_sub(machine.launched_at_unix_ms);
    let known = !machine.state.is_empty();
    let cells = [
        printable(&machine.id),
        printable(&machine.pool),
        if known {
            machine.state.clone()
        } else {
            "unknown".to_owned()
        },
        if known {
            when(machine.launched_at_unix_ms, 0)
        } else {
            "-".to_owned()
        },
        if is_over {
            human(Duration::from_millis(lived))
        } else {
            "-".to_owned()
        },
    ];
    let mut line = String::new();
    for (cell, (_, width)) in cells.iter().zip(HEADER) {
        let _ = write!(line, "{cell:width$}  ");
    }
    let end = if machine.unaccounted.is_empty() {
        printable(machine.cause.lines().next().unwrap_or_default())
    } else {
        format!("NOT ACCOUNTED FOR: {}", printable(&machine.unaccounted))
    };
    format!("{line}{end}\n")
}

fn summary(source: &Source, sum: &LedgerSummary) -> String {
    let mut out = String::new();
    let LedgerSummary {
        machines,
        ended,
        alive,
        unaccounted,
        unchecked,
    } = sum;
    if *machines == 0 {
        let _ = writeln!(
            out,
            "no machines yet: {} has never seen one",
            printable(&source.to_string())
        );
    } else {
        let _ = writeln!(
            out,
            "\n{}: {ended} ended, {alive} alive, {unaccounted} not accounted for",
            count(*machines)
        );
    }
    if !unchecked.is_empty() {
        let pools: Vec<_> = unchecked.iter().map(|pool| printable(pool)).collect();
        let _ = writeln!(
            out,
            "not held against what the providers have: {} (only a runner does that, for its pools)",
            pools.join(", ")
        );
    }
    out
}
