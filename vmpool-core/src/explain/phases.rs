//! What its time went to. Pure.

use super::Phase;
use super::gather::{Findings, Subject};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::journal::{Event, MachineRow, OrderRow, RowKey, StageRecord, StepRow};
use crate::pool::boot::phase_of;

/// The phases, by their beginnings.
pub(super) fn phases(findings: &Findings) -> Vec<Phase> {
    let mut phases = Vec::new();
    match &findings.subject {
        Subject::Stage(record) => {
            phases.extend(waiting(findings, Some(first_claim(findings, record))));
            if let Some(row) = &findings.machine {
                // The stage's own phases say more of the time it had it.
                let machine = machine(findings, row).into_iter();
                phases.extend(machine.filter(|phase| phase.name != "claimed"));
            }
            phases.extend(stage(findings, record));
        }
        Subject::Request(_) => phases.extend(waiting(findings, refused_at(findings))),
        Subject::Machine(row, _) => {
            phases.extend(machine(findings, row));
            phases.extend(findings.events.iter().filter_map(boot));
        }
        Subject::Order(row) => phases.push(order(findings, row)),
    }
    phases.sort_by_key(|phase| phase.since);
    phases
}

/// When the request began to wait, by its notes or its pool.
pub(super) fn waits_since(findings: &Findings) -> Option<Timestamp> {
    let noted = findings.events.iter().find(|event| is_wait(event));
    let noted = noted.map(|event| event.at);
    let told = findings.waiter().map(|waiter| waiter.since);
    noted.into_iter().chain(told).min()
}

/// The last word on a request that no pool has waiting any more.
pub(super) fn last_note(findings: &Findings) -> Option<&Event> {
    findings.events.iter().rfind(|event| is_note(event))
}

/// A note that a request waits.
pub(super) fn is_wait(event: &Event) -> bool {
    is_note(event) && event.what == "waits"
}

/// A note of a request for a machine, as `pool::waits` writes them.
fn is_note(event: &Event) -> bool {
    event.version == Version(0)
        && matches!(event.key, RowKey::Stage(_))
        && matches!(&*event.what, "waits" | "refused")
}

fn refused_at(findings: &Findings) -> Option<Timestamp> {
    if findings.waiter().is_some() {
        return None;
    }
    let last = last_note(findings)?;
    (!is_wait(last)).then_some(last.at)
}

fn waiting(findings: &Findings, until: Option<Timestamp>) -> Option<Phase> {
    let since = waits_since(findings)?;
    // What it waited later, for another machine, is one of its stage's phases.
    let first = until.is_none_or(|until| since <= until);
    first.then(|| phase("waiting", since, until, findings.now))
}

/// When the stage got the first of its machines.
fn first_claim(findings: &Findings, record: &StageRecord) -> Timestamp {
    let mut events = findings.events.iter();
    let claimed = events.find(|event| {
        event.what == "claimed" && matches!(&event.key, RowKey::Stage(id) if *id == record.stage.id)
    });
    claimed.map_or(record.stage.claimed_at, |event| event.at)
}

/// A machine's states.
fn machine(findings: &Findings, row: &MachineRow) -> Vec<Phase> {
    let mut begun: Vec<(String, Timestamp)> = Vec::new();
    for event in &findings.events {
        let is_its = event.version != Version(0)
            && matches!(&event.key, RowKey::Machine(id) if id == row.id());
        // An event that changed something else of it bears the state's name too.
        if is_its && begun.last().is_none_or(|(name, _)| *name != event.what) {
            begun.push((event.what.clone().into_owned(), event.at));
        }
    }
    // What the journal has forgotten, the row still says of the present.
    if begun.is_empty() {
        begun.push((row.state.as_str().to_owned(), row.since));
    }
    let mut ends: Vec<_> = begun.iter().skip(1).map(|(_, at)| Some(*at)).collect();
    ends.push(None);
    begun
        .into_iter()
        .zip(ends)
        // How it ended is a moment and takes no time.
        .filter(|((name, _), _)| name != "gone" && name != "lost")
        .map(|((name, since), until)| phase(name, since, until, findings.now))
        .collect()
}

/// A part of a machine's start, as its agent told it.
fn boot(event: &Event) -> Option<Phase> {
    let (name, took) = phase_of(event)?;
    Some(Phase {
        name: format!("boot: {name}"),
        since: event.at,
        took,
        over: true,
    })
}

/// Preparing on each of its machines, waiting for another, running, each step.
fn stage(findings: &Findings, record: &StageRecord) -> Vec<Phase> {
    let its = findings.events.iter().filter(|event| {
        event.version != Version(0)
            && matches!(&event.key, RowKey::Stage(id) if *id == record.stage.id)
    });
    let mut its = its.peekable();
    let (mut phases, mut ended) = (Vec::new(), None);
    while let Some(event) = its.next() {
        let name = match &*event.what {
            "claimed" => "preparing",
            "waiting" => "waiting",
            "prepared" => "running",
            "ended" => {
                ended = Some(event.at);
                continue;
            }
            _ => continue,
        };
        let until = its.peek().map(|next| next.at);
        phases.push(phase(name, event.at, until, findings.now));
    }
    let steps = record.steps.iter();
    phases.extend(steps.filter_map(|row| step(findings, row, ended)));
    phases
}

fn step(findings: &Findings, row: &StepRow, stage_ended: Option<Timestamp>) -> Option<Phase> {
    let name = format!("step {}", row.id);
    let sent = findings.events.iter().find(|event| {
        matches!(&event.key, RowKey::Step(stage, id) if *stage == row.stage && *id == row.id)
    });
    let sent = sent.map(|event| event.at);
    let Some(outcome) = &row.outcome else {
        return Some(phase(name, sent?, stage_ended, findings.now));
    };
    // Its time is by the machine's clock, its place among the phases by ours.
    Some(Phase {
        name,
        since: sent.unwrap_or(outcome.started_at),
        took: outcome.ended_at.since(outcome.started_at),
        over: true,
    })
}

/// An order's time until it is known what became of all its slots.
fn order(findings: &Findings, row: &OrderRow) -> Phase {
    let mut events = findings.events.iter();
    let last = events.rfind(|event| matches!(event.key, RowKey::Order(_)));
    let until = row
        .state
        .is_settled()
        .then(|| last.map_or(row.created_at, |event| event.at));
    phase("launching", row.created_at, until, findings.now)
}

fn phase(
    name: impl Into<String>,
    since: Timestamp,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Phase {
    Phase {
        name: name.into(),
        since,
        took: until.unwrap_or(now).since(since),
        over: until.is_some(),
    }
}
