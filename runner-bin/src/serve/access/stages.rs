//! How many stages a caller has at once, where it may have so many only.
//!
//! A stage counts from the setup that asks for it until the journal says that
//! it is over, or does not know it. What is counted is of this runner, and
//! begins anew with it; a stage that was there before counts from its caller's
//! next request for it.

use std::collections::HashMap;
use std::num::NonZeroU32;

use parking_lot::Mutex;
use vmpool_core::{PoolName, StageId};

use super::caller::Known;

/// The caller has as many as it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("{caller} has {most} stages, as many as it may have at once")]
    All { caller: String, most: NonZeroU32 },
    #[error("{caller} has {most} stages in pool {pool}, as many as it may have there at once")]
    Pool {
        caller: String,
        most: NonZeroU32,
        pool: PoolName,
    },
}

#[derive(Debug, Default)]
pub(super) struct Stages(Mutex<HashMap<StageId, Held>>);

#[derive(Debug)]
struct Held {
    caller: String,
    pool: PoolName,
    /// Setups that are under way.
    asking: u32,
}

impl Stages {
    /// A setup asks for the stage: counts it until the journal says otherwise.
    /// [`Self::asked`] must follow.
    ///
    /// # Errors
    /// It would be one too many. One that is counted already never is (P9).
    pub(super) fn ask(&self, by: &Known, pool: &PoolName, stage: &StageId) -> Result<(), Full> {
        let mut held = self.0.lock();
        if let Some(held) = held.get_mut(stage) {
            held.asking += 1;
            return Ok(());
        }
        let theirs = || held.values().filter(|held| held.caller == by.name);
        let caller = || by.name.clone();
        if let Some(most) = by.limits.stages
            && theirs().count() >= most.get() as usize
        {
            let caller = caller();
            return Err(Full::All { caller, most });
        }
        let there = || theirs().filter(|held| held.pool == *pool);
        if let Some(most) = by.limits.stages_per_pool
            && there().count() >= most.get() as usize
        {
            let (caller, pool) = (caller(), pool.clone());
            return Err(Full::Pool { caller, most, pool });
        }
        let new = Held {
            caller: caller(),
            pool: pool.clone(),
            asking: 1,
        };
        held.insert(stage.clone(), new);
        Ok(())
    }

    /// The setup is over, however it ended.
    pub(super) fn asked(&self, stage: &StageId) {
        if let Some(held) = self.0.lock().get_mut(stage) {
            held.asking = held.asking.saturating_sub(1);
        }
    }

    /// The stage is there: it counts, even if it is one too many.
    pub(super) fn has(&self, by: &Known, pool: &PoolName, stage: &StageId) {
        let mut held = self.0.lock();
        if !held.contains_key(stage) {
            let new = Held {
                caller: by.name.clone(),
                pool: pool.clone(),
                asking: 0,
            };
            held.insert(stage.clone(), new);
        }
    }

    /// Its stages that may be over: no setup asks for them.
    pub(super) fn perhaps_over(&self, by: &Known) -> Vec<StageId> {
        let held = self.0.lock();
        let theirs = held.iter().filter(|(_, held)| held.caller == by.name);
        let idle = theirs.filter(|(_, held)| held.asking == 0);
        idle.map(|(stage, _)| stage.clone()).collect()
    }

    /// It is over, unless a setup asks for it meanwhile.
    pub(super) fn is_over(&self, stage: &StageId) {
        let mut held = self.0.lock();
        if held.get(stage).is_some_and(|held| held.asking == 0) {
            held.remove(stage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::caller::Limits;
    use super::*;

    #[test]
    fn a_caller_has_as_many_stages_as_it_may_in_all_and_in_one_pool() {
        let of = |name: &str| {
            let limits = Limits {
                stages: NonZeroU32::new(3),
                stages_per_pool: NonZeroU32::new(2),
                requests_per_second: None,
            };
            Known::new(name.to_owned(), None, limits)
        };
        let (ci, other) = (of("ci"), of("other"));
        let (linux, windows) = (PoolName::new("linux"), PoolName::new("windows"));
        let stages = Stages::default();
        let ask = |by: &Known, pool: &PoolName, stage: &str| {
            let asked = stages.ask(by, pool, &StageId::new(stage));
            asked.map_err(|full| full.to_string())
        };
        ask(&ci, &linux, "a").unwrap();
        ask(&ci, &linux, "b").unwrap();
        let full = "ci has 2 stages in pool linux, as many as it may have there at once";
        assert_eq!(ask(&ci, &linux, "c").unwrap_err(), full);
        ask(&ci, &linux, "a").expect("P9: it is asked for again");
        ask(&ci, &windows, "d").unwrap();
        let full = "ci has 3 stages, as many as it may have at once";
        assert_eq!(ask(&ci, &windows, "e").unwrap_err(), full);
        ask(&other, &linux, "f").unwrap();

        // Both setups of `a` are still under way, then none.
        stages.is_over(&StageId::new("a"));
        ask(&ci, &windows, "e").unwrap_err();
        stages.asked(&StageId::new("a"));
        stages.asked(&StageId::new("a"));
        assert_eq!(stages.perhaps_over(&ci), [StageId::new("a")]);
        stages.is_over(&StageId::new("a"));
        ask(&ci, &windows, "e").unwrap();
        // One that was there before counts, too.
        stages.has(&ci, &linux, &StageId::new("g"));
        ask(&ci, &linux, "h").unwrap_err();
    }
}
