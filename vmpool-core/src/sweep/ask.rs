//! Asks providers what they have, and ends what a plan says, if that is wanted.

use std::sync::Arc;
use std::time::Duration;

use super::{Other, Question, Swept, carry_out, plan};
use crate::id::MachineId;
use crate::map::Set;
use crate::provider::{Listed, Provider};

/// A provider that takes longer to list its machines can't be asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a sweep found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Machines that were told to end, or would be, by their ids.
    pub swept: Vec<Swept>,
    /// Deployments under our name that are not ours and were not named.
    pub others: Vec<Other>,
    /// Providers that could not be asked, or not to the end.
    pub troubles: Vec<String>,
}

impl Report {
    /// All that was to end was told to, and everybody was asked.
    pub fn is_clean(&self) -> bool {
        self.troubles.is_empty() && self.swept.iter().all(|swept| swept.failed.is_none())
    }
}

/// Asks `providers`, each for a minute at most, and ends what the
/// [plan](plan()) says, if it is to `act`. Several may show the same machines:
/// one that was seen is not counted again.
///
/// # Cancel safety
/// A dropped call leaves machines that were not told yet; sweep again.
pub async fn sweep(providers: &[Arc<dyn Provider>], question: &Question<'_>, act: bool) -> Report {
    let mut report = Report::default();
    let mut seen: Set<MachineId> = Set::default();
    let mut machines: Vec<Listed> = Vec::new();
    // Who shows which of them, in the order of `machines`.
    let mut shown_by = Vec::with_capacity(providers.len());
    for provider in providers {
        let listed = list(&**provider, question, &mut report.troubles).await;
        let new = listed.into_iter().filter(|one| seen.insert(one.id.clone()));
        machines.extend(new);
        shown_by.push((provider, machines.len()));
    }
    let plan = plan(&machines, question);
    report.others = plan.others;
    if !act {
        let planned = plan.end.into_iter().map(|machine| Swept {
            machine,
            failed: None,
        });
        report.swept = planned.collect();
        return report;
    }
    let mut begin = 0;
    for (provider, end) in shown_by {
        let its: Set<&MachineId> = machines[begin..end].iter().map(|one| &one.id).collect();
        let doomed = plan.end.iter().filter(|one| its.contains(&one.id));
        let doomed = doomed.cloned().collect();
        report.swept.extend(carry_out(&**provider, doomed).await);
        begin = end;
    }
    report
        .swept
        .sort_by(|one, other| one.machine.id.cmp(&other.machine.id));
    report
}

async fn list(
    provider: &dyn Provider,
    question: &Question<'_>,
    troubles: &mut Vec<String>,
) -> Vec<Listed> {
    match tokio::time::timeout(PATIENCE, provider.list(question.owner)).await {
        Ok(Ok(listing)) => {
            if !listing.complete {
                let trouble = "the listing broke off: there may be more machines";
                troubles.push(trouble.to_owned());
            }
            listing.machines
        }
        Ok(Err(error)) => {
            troubles.push(super::carry_out::told(&error));
            Vec::new()
        }
        Err(_) => {
            troubles.push(format!("the machines were not listed within {PATIENCE:?}"));
            Vec::new()
        }
    }
}
