//! `vmpool pool ls`: the pools as they are now.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, TableStyle};
use vmpool_proto::v1::{MachineHold, Pool, StatusResponse};

use super::args::ShownArgs;
use super::json;
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::screen::{colours, human, painted, printable, when};

/// The columns of pools, and of machines.
pub(super) const POOLS: [&str; 9] = [
    "POOL", "READY", "BOOTING", "ORDERED", "CLAIMED", "ENDING", "SLOTS", "WAITING", "RUNNER",
];
pub(super) const MACHINES: [&str; 6] = ["MACHINE", "POOL", "STATE", "FOR", "STAGE", "WHY"];

pub(super) async fn ls(args: &ShownArgs) -> Result<Exit, Stopped> {
    let source = args.source.open().await?;
    let status = source.status(args.pool.as_deref()).await?;
    let source = source.to_string();
    say(if args.json {
        format!("{}\n", json::status(&source, &status))
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0);
        text(
            &source,
            &status,
            width.filter(|_| io::stdout().is_terminal()),
            colours(),
        )
    })?;
    Ok(Exit::Success)
}

fn text(source: &str, status: &StatusResponse, width: Option<u16>, colours: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", printable(&headline(source, status)));
    if status.pools.is_empty() {
        out.push_str("\nno pools yet: no runner has kept any in this journal\n");
        return out;
    }
    let _ = writeln!(out, "\n{}", pools(status, width).trim_fmt());
    let machines = machines_table(status, width);
    if machines.is_empty() {
        let _ = writeln!(out, "\n{}", no_machines(status));
    } else {
        let machines = machines.trim_fmt();
        let machines = if colours {
            painted(&machines)
        } else {
            machines
        };
        let _ = writeln!(out, "\n{machines}");
    }
    let remarks = remarks(status, status.at_unix_ms);
    if !remarks.is_empty() {
        out.push('\n');
    }
    for remark in remarks {
        let _ = writeln!(out, "{}", printable(&remark));
    }
    out
}

/// What is shown in the place of machines where there are none.
pub(super) fn no_machines(status: &StatusResponse) -> &'static str {
    let ordered = |pool: &Pool| pool.cordon.is_none() && pool.warm.is_some_and(|warm| warm > 0);
    if status.pools.iter().any(ordered) {
        "no machines yet: those that are kept ready are ordered first"
    } else {
        "no machines"
    }
}

/// Who says so.
pub(super) fn headline(source: &str, status: &StatusResponse) -> String {
    if status.runner_id.is_empty() {
        return format!("no runner: {source}");
    }
    let id: String = status.runner_id.chars().take(8).collect();
    format!("{source}: {id} of deployment {}", status.owner)
}

fn pools(status: &StatusResponse, width: Option<u16>) -> Table {
    let rows = status.pools.iter().map(|pool| pool_row(status, pool));
    table(POOLS, rows, width)
}

/// A pool's line: what only its runner knows is `-` where another one told it.
pub(super) fn pool_row(status: &StatusResponse, pool: &Pool) -> [String; 9] {
    let name = printable(&pool.name);
    let from_journal = status.runner_id.is_empty();
    if !pool.ours && !from_journal && pool.warm.is_none() {
        let mut row = [(); 9].map(|()| "-".to_owned());
        row[0] = name;
        row[8] = owner(pool);
        return row;
    }
    let of = |count: u32, most: Option<u32>| match most {
        Some(most) => format!("{count}/{most}"),
        None => count.to_string(),
    };
    let slots = pool.ready + pool.booting + pool.ordered + pool.claimed + pool.held + pool.ending;
    [
        name,
        of(pool.ready, pool.warm),
        pool.booting.to_string(),
        pool.ordered.to_string(),
        pool.claimed.to_string(),
        pool.ending.to_string(),
        of(slots, pool.limit),
        if from_journal {
            "-".to_owned()
        } else {
            pool.waiting.to_string()
        },
        owner(pool),
    ]
}

/// `1 machine`, `2 machines`.
pub(super) fn machines(count: impl Into<u64>) -> String {
    match count.into() {
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    }
}

fn owner(pool: &Pool) -> String {
    if pool.ours {
        return "this one".to_owned();
    }
    if pool.unknown {
        return "not in its pool file".to_owned();
    }
    match pool.holder.get(..8) {
        _ if pool.holder.is_empty() => "none".to_owned(),
        Some(begin) => printable(begin),
        None => printable(&pool.holder),
    }
}

fn machines_table(status: &StatusResponse, width: Option<u16>) -> Table {
    table(
        MACHINES,
        machine_rows(status, status.at_unix_ms).into_iter(),
        width,
    )
}

/// A line a machine: those that changed last first.
pub(super) fn machine_rows(status: &StatusResponse, now: u64) -> Vec<[String; 6]> {
    let mut machines: Vec<_> = status
        .pools
        .iter()
        .flat_map(|pool| pool.machines.iter().map(move |machine| (pool, machine)))
        .collect();
    machines.sort_by(|(_, one), (_, other)| {
        let key = |machine: &vmpool_proto::v1::Machine| (machine.since_unix_ms, machine.id.clone());
        key(other).cmp(&key(one))
    });
    let row = |(pool, machine): (&Pool, &vmpool_proto::v1::Machine)| {
        [
            printable(&machine.id),
            printable(&pool.name),
            machine.state.clone(),
            since(now, machine.since_unix_ms),
            printable(&machine.stage_id),
            printable(first_line(&machine.cause)),
        ]
    };
    machines.into_iter().map(row).collect()
}

/// What a person should know beside the tables.
pub(super) fn remarks(status: &StatusResponse, now: u64) -> Vec<String> {
    let mut remarks = Vec::new();
    for pool in &status.pools {
        let name = &pool.name;
        for waiter in &pool.waiters {
            let waited = since(now, waiter.since_unix_ms);
            let stage = &waiter.stage_id;
            remarks.push(format!(
                "stage {stage} waits for a machine of pool {name} for {waited}"
            ));
        }
        if !pool.holder.is_empty() && !status.runner_id.is_empty() && pool.warm.is_none() {
            let holder = owner(pool);
            remarks.push(format!(
                "pool {name} is with runner {holder}: ask that one for its machines"
            ));
        }
        for machine in &pool.machines {
            if let Some(hold) = &machine.hold {
                remarks.push(held(machine, hold));
            }
        }
        if let Some(cordon) = &pool.cordon {
            let did = if cordon.drains { "drained" } else { "cordoned" };
            let ago = ago(now, cordon.at_unix_ms);
            let why = match cordon.why.as_str() {
                "" => String::new(),
                why => format!(": {why}"),
            };
            let by = &cordon.by;
            remarks.push(format!(
                "pool {name} takes no new stages: {by} {did} it {ago}{why}; `vmpool pool fill {name}` takes it back"
            ));
        }
        if !pool.stopped.is_empty() {
            remarks.push(format!("pool {name} takes no requests: {}", pool.stopped));
        }
        if !pool.held_off.is_empty() {
            remarks.push(format!(
                "pool {name} orders no more machines {}",
                pool.held_off
            ));
        }
        if pool.unaccounted > 0 {
            remarks.push(format!(
                "pool {name}: {} not accounted for; vmpool pool ledger says why",
                machines(pool.unaccounted)
            ));
        }
        if let Some(last) = pool.troubles.last() {
            let ago = ago(now, last.at_unix_ms);
            let more = match pool.troubles.len() - 1 {
                0 => String::new(),
                more => format!(" ({more} more before)"),
            };
            remarks.push(format!(
                "pool {name}, last trouble {ago}: {}{more}",
                first_line(&last.text)
            ));
        }
    }
    remarks.extend(status.troubles.iter().map(|trouble| {
        let ago = ago(now, trouble.at_unix_ms);
        format!("the runner, trouble {ago}: {}", first_line(&trouble.text))
    }));
    remarks
}

fn held(machine: &vmpool_proto::v1::Machine, hold: &MachineHold) -> String {
    let (id, stage, by) = (&machine.id, &machine.stage_id, &hold.by);
    let until = match hold.until_unix_ms {
        0 => {
            let lasts = human(Duration::from_millis(hold.lasts_ms));
            format!("for {lasts} after its stage's end")
        }
        until => format!("until {}", when(until, 0)),
    };
    let why = match hold.why.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    format!("{by} keeps machine {id} {until}{why}; `vmpool hold {stage} --release` ends that")
}

/// A console's last lines are for `explain`.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn ago(now: u64, unix_ms: u64) -> String {
    match since(now, unix_ms).as_str() {
        "now" => "just now".to_owned(),
        span => format!("{span} ago"),
    }
}

/// How long that goes on; tenths of what goes on for seconds say nothing.
pub(crate) fn since(now: u64, unix_ms: u64) -> String {
    let span = Duration::from_millis(now.saturating_sub(unix_ms));
    match span.as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        _ => human(span),
    }
}

/// A table without lines, no wider than the terminal.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    width: Option<u16>,
) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    for row in rows {
        table.add_row(row);
    }
    table
}
