//! What a sweep would end, from a listing. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Timestamp;
use crate::id::{DeploymentId, MachineId, Owner, PoolName};
use crate::provider::{Listed, ListedState};

/// Whose machines are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name under which machines are looked for.
    pub owner: &'a Owner,
    /// Our deployment's id. None: it is lost, so every machine is another's.
    pub ours: Option<&'a DeploymentId>,
    /// The deployment id that a person named.
    pub named: Option<&'a DeploymentId>,
    /// This moment.
    pub now: Timestamp,
}

/// What a sweep would end, and what it leaves to a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepPlan {
    /// Machines to end, by their ids.
    pub end: Vec<Doomed>,
    /// Deployments under our name that are not ours and were not named, by their ids.
    pub others: Vec<Other>,
}

/// A machine to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The machine.
    pub id: MachineId,
    /// The pool it was ordered for.
    pub pool: PoolName,
    /// The deployment that ordered it.
    pub deployment: DeploymentId,
    /// When it expired, or would.
    pub expires_at: Timestamp,
    /// Why it is to end.
    pub why: Why,
}

/// Why a machine is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is past the time that its order gave it.
    Expired,
    /// A person named its deployment.
    Named,
}

/// A deployment under our name that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its id.
    pub deployment: DeploymentId,
    /// Its machines that are not ending.
    pub machines: u32,
    /// Those of them that are expired.
    pub expired: u32,
}

/// What a sweep would end of `machines`, a provider's listing. An incomplete
/// listing makes a plan that leaves machines out, and none that is wrong.
pub fn plan(machines: &[Listed], question: &Question<'_>) -> SweepPlan {
    let mut plan = SweepPlan::default();
    let mut others: BTreeMap<&DeploymentId, Other> = BTreeMap::new();
    let alive = machines.iter().filter(|machine| {
        machine.tags.owner == *question.owner
            && matches!(machine.state, ListedState::Alive | ListedState::Suspended)
    });
    for machine in alive {
        let deployment = &machine.tags.deployment;
        let is_expired = machine.tags.expires_at <= question.now;
        let why = if question.named == Some(deployment) {
            Some(Why::Named)
        } else if question.ours != Some(deployment) {
            let other = others.entry(deployment).or_insert_with(|| Other {
                deployment: deployment.clone(),
                machines: 0,
                expired: 0,
            });
            other.machines += 1;
            other.expired += u32::from(is_expired);
            None
        } else {
            // Who names another deployment asks about that one alone.
            (is_expired && question.named.is_none()).then_some(Why::Expired)
        };
        plan.end.extend(why.map(|why| Doomed {
            id: machine.id.clone(),
            pool: machine.tags.pool.clone(),
            deployment: deployment.clone(),
            expires_at: machine.tags.expires_at,
            why,
        }));
    }
    plan.end.sort_by(|one, other| one.id.cmp(&other.id));
    plan.others = others.into_values().collect();
    plan
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it is expired",
            Self::Named => "its deployment was named",
        })
    }
}
