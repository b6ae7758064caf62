//! One sentence: how it stands, and why. Pure.

use std::fmt::Write as _;

use super::gather::{Findings, Subject};
use super::phases::{is_wait, last_note, waits_since};
use super::words::{counted, shortly, span, status};
use crate::id::{MachineId, StageId};
use crate::journal::{Event, MachineRow, OrderRow, RowKey, StageRecord, StepRow};
use crate::machine::MachineState;
use crate::order::Phase;
use crate::pool::PoolStatus;
use crate::pool::notice::NOTICE;
use crate::stage::{StageState, told};

/// The sentence.
pub(super) fn summary(findings: &Findings) -> String {
    match &findings.subject {
        Subject::Stage(record) => stage(findings, record),
        Subject::Request(id) => request(findings, id),
        Subject::Machine(row, _) => machine(findings, row),
        Subject::Order(row) => order(findings, row),
    }
}

fn stage(findings: &Findings, record: &StageRecord) -> String {
    let row = &record.stage;
    let (id, machine) = (&row.id, &row.machine);
    let since = |what: &str| span(findings.now.since(begun(findings, record, what)));
    match &row.state {
        StageState::Claimed => format!(
            "stage {id} has machine {machine} since {}, which is not prepared yet",
            since("claimed")
        ),
        StageState::Waiting => format!(
            "stage {id} waits for its next machine since {}: {}",
            since("waiting"),
            shortly(&told(&row.tried))
        ),
        StageState::Prepared => {
            let running: Vec<_> = record
                .steps
                .iter()
                .filter(|s| s.outcome.is_none())
                .collect();
            let since = since("prepared");
            let did = match running.as_slice() {
                [] => "runs no step at the moment".to_owned(),
                [step] => format!("runs step {}", step.id),
                steps => format!("runs {}", counted(steps.len(), "step")),
            };
            format!(
                "stage {id} is prepared on machine {machine} since {since} and {did}{}{}",
                steps_done(record),
                noticed(findings)
            )
        }
        StageState::Ended(end) => {
            let ended = begun(findings, record, "ended");
            let had = span(ended.since(row.claimed_at));
            let mut told = format!(
                "stage {id} ended {} ago, after {had} on machine {machine}: {}{}",
                span(findings.now.since(ended)),
                shortly(&end.to_string()),
                steps_done(record)
            );
            if let Some(row) = &findings.machine {
                let _ = write!(told, "; its machine is {}", row.state);
            }
            told
        }
    }
}

/// When the stage came to be `what` last; at the earliest when it was claimed.
fn begun(findings: &Findings, record: &StageRecord, what: &str) -> crate::Timestamp {
    let found = findings.events.iter().rfind(|event| {
        event.what == what && matches!(&event.key, RowKey::Stage(id) if *id == record.stage.id)
    });
    found.map_or(record.stage.claimed_at, |event| event.at)
}

/// The steps that are over: `; 3 steps done, test failed: exit code 2`.
fn steps_done(record: &StageRecord) -> String {
    let done: Vec<(&StepRow, _)> = record
        .steps
        .iter()
        .filter_map(|step| Some((&**step, step.outcome.as_ref()?)))
        .collect();
    if done.is_empty() {
        return String::new();
    }
    let mut told = format!("; {} done", counted(done.len(), "step"));
    if let Some((step, outcome)) = done.iter().find(|(_, o)| !o.status.is_success()) {
        let _ = write!(
            told,
            ", {} failed: {}",
            step.id,
            shortly(&status(&outcome.status))
        );
    }
    told
}

fn request(findings: &Findings, id: &StageId) -> String {
    let waited = |until: crate::Timestamp| {
        let since = waits_since(findings).unwrap_or(until);
        span(until.since(since))
    };
    if let (Some(_), Some(pool)) = (findings.waiter(), &findings.pool) {
        return format!(
            "stage {id} waits since {}: {}",
            waited(findings.now),
            why_it_waits(pool)
        );
    }
    match last_note(findings) {
        Some(event) if is_wait(event) => format!(
            "stage {id} has no machine and waited when it was last heard of, {} ago: {}",
            span(findings.now.since(event.at)),
            shortly(&event.cause)
        ),
        Some(event) => format!(
            "stage {id} got no machine after {}: {}",
            waited(event.at),
            shortly(&event.cause)
        ),
        // Only notes and waiters make it known.
        None => format!("stage {id} has no machine"),
    }
}

/// What a pool's requests wait for.
fn why_it_waits(pool: &PoolStatus) -> String {
    if let Some(why) = &pool.stopped {
        return format!("pool {} takes no requests: {why}", pool.name);
    }
    let mut told = format!(
        "no machine of pool {} is ready, {} booting",
        pool.name, pool.booting
    );
    if pool.ordered > 0 {
        let _ = write!(told, ", {} ordered", pool.ordered);
    }
    let others = pool.waiting.saturating_sub(1);
    if others > 0 {
        let _ = write!(told, ", {others} more waiting");
    }
    let taken = pool.ready + pool.booting + pool.ordered + pool.claimed + pool.ending;
    if taken >= pool.limit {
        let _ = write!(
            told,
            "; all {} are taken: {} claimed, {} ending",
            counted(pool.limit as usize, "slot"),
            pool.claimed,
            pool.ending
        );
    }
    match (&pool.held_off, pool.evidence.last()) {
        (Some(why), _) => {
            let _ = write!(told, "; no more is ordered {why}");
        }
        (None, Some(last)) => {
            let _ = write!(told, "; last trouble: {}", shortly(&last.text));
        }
        (None, None) => {}
    }
    told
}

fn machine(findings: &Findings, row: &MachineRow) -> String {
    let id = row.id();
    let since = span(findings.now.since(row.since));
    let lived = span(row.since.since(row.launched_at));
    let cause = shortly(&row.cause);
    let served = match &row.stage {
        Some(stage) => format!("; it served stage {stage}"),
        None => "; it served no stage".to_owned(),
    };
    match row.state {
        MachineState::Claimed => match &row.stage {
            Some(stage) => {
                let noticed = noticed(findings);
                format!("machine {id} has stage {stage} since {since}{noticed}")
            }
            None => format!("machine {id} is claimed since {since}: {cause}"),
        },
        MachineState::Held => {
            let until = row.hold.as_ref().and_then(|hold| hold.until);
            let left = until.map_or_else(String::new, |until| {
                format!(" for another {}", span(until.since(findings.now)))
            });
            format!("machine {id} is held{left}: {cause}{served}")
        }
        MachineState::Draining | MachineState::Terminating => {
            let why = drained(findings, id).unwrap_or(cause);
            let state = row.state;
            format!("machine {id} is {state} since {since}, after {lived}: {why}{served}")
        }
        MachineState::Gone => {
            let why = drained(findings, id).unwrap_or(cause);
            format!("machine {id} is gone since {since}, it lived {lived}: {why}{served}")
        }
        MachineState::Lost => {
            format!("machine {id} was lost {since} ago, it lived {lived}: {cause}{served}")
        }
        state => format!("machine {id} is {state} since {since}: {cause}"),
    }
}

/// What the machine's cloud has said of its end, while a stage has it.
fn noticed(findings: &Findings) -> String {
    let is_notice =
        |event: &&Event| event.what == NOTICE && matches!(event.key, RowKey::Machine(_));
    match findings.events.iter().rfind(is_notice) {
        Some(event) => format!(
            "; {} ago: {}",
            span(findings.now.since(event.at)),
            event.cause
        ),
        None => String::new(),
    }
}

/// Why a machine was drained: that is why it was ended, whatever came after.
fn drained<'a>(findings: &'a Findings, id: &MachineId) -> Option<&'a str> {
    let is_it = |event: &&Event| {
        event.what == "draining" && matches!(&event.key, RowKey::Machine(of) if of == id)
    };
    findings
        .events
        .iter()
        .find(is_it)
        .map(|event| shortly(&event.cause))
}

fn order(findings: &Findings, row: &OrderRow) -> String {
    let state = row.state;
    let wanted = counted(state.count() as usize, "machine");
    let (id, pool) = (&row.id, &row.pool);
    let mut told = match state.phase {
        Phase::Planned => format!("order {id} of {wanted} for pool {pool} was not sent yet"),
        Phase::Launching => format!(
            "order {id} of {wanted} for pool {pool} is open since {}: {} launched, {} not known yet",
            span(findings.now.since(row.created_at)),
            state.bound,
            state.open
        ),
        Phase::Settled => format!(
            "order {id} of {wanted} for pool {pool} is settled: {} launched, {} not",
            state.bound, state.absent
        ),
    };
    let last = findings.events.iter().rfind(|event| {
        matches!(&event.key, RowKey::Order(of) if of == id) && event.what != "bound"
    });
    if let Some(event) = last {
        let _ = write!(told, "; {}", shortly(&event.cause));
    }
    told
}
