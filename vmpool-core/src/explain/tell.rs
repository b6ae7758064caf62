//! Tells what was found. Pure.

use super::gather::{Findings, Subject};
use super::phases::phases;
use super::summary::summary;
use super::{Kind, Moment, Story, words};
use crate::id::Version;
use crate::journal::{Event, RowKey, StageRecord};
use crate::stage::StageState;

/// The story of what was found.
pub(super) fn tell(subject: &str, findings: &Findings) -> Story {
    let kind = match findings.subject {
        Subject::Stage(_) => Kind::Stage,
        Subject::Machine(..) => Kind::Machine,
        Subject::Order(_) => Kind::Order,
        Subject::Request(_) => Kind::Request,
    };
    Story {
        subject: subject.to_owned(),
        kind,
        summary: summary(findings),
        moments: moments(findings),
        phases: phases(findings),
    }
}

fn moments(findings: &Findings) -> Vec<Moment> {
    let record = match &findings.subject {
        Subject::Stage(record) | Subject::Machine(_, Some(record)) => Some(record),
        _ => None,
    };
    let events = findings.events.iter().map(|event| Moment {
        at: event.at,
        of: event.key.to_string(),
        what: event.what.clone().into_owned(),
        cause: record
            .and_then(|record| end(event, record))
            .unwrap_or_else(|| event.cause.clone().into_owned()),
    });
    let mut moments: Vec<_> = events.chain(troubles(findings)).collect();
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// What went wrong with the machine, or in the pool while the request waits,
/// and is in no event: a launch that was refused, an agent that does not answer.
fn troubles(findings: &Findings) -> impl Iterator<Item = Moment> {
    let waits_since = findings.waiter().map(|waiter| waiter.since);
    let machine = findings.machine.as_ref().map(|row| row.id());
    let pool = findings.pool.iter();
    let evidence = pool.flat_map(|pool| pool.evidence.iter().map(move |one| (pool, one)));
    let is_told = |text: &str| {
        let mut events = findings.events.iter();
        events.any(|event| event.cause.contains(text))
    };
    let concerns = evidence.filter(move |(_, one)| {
        let concerns = match machine {
            Some(id) => one.machine.as_ref() == Some(id),
            None => waits_since.is_some_and(|since| one.at >= since),
        };
        concerns && !is_told(&one.text)
    });
    concerns.map(|(pool, one)| Moment {
        at: one.at,
        of: match &one.machine {
            Some(id) => format!("machine {id}"),
            None => format!("pool {}", pool.name),
        },
        what: "trouble".to_owned(),
        cause: one.text.clone(),
    })
}

/// How a stage or a step ended; its row knows that better than the event.
fn end(event: &Event, record: &StageRecord) -> Option<String> {
    if event.what != "ended" || event.version == Version(0) {
        return None;
    }
    match (&event.key, &record.stage.state) {
        (RowKey::Step(_, id), _) => {
            let step = record.steps.iter().find(|step| step.id == *id)?;
            step.outcome.as_ref().map(words::outcome)
        }
        (RowKey::Stage(_), StageState::Ended(end)) => Some(end.to_string()),
        _ => None,
    }
}
