//! Whose a pool is, as its runner knows it.

use super::{Runner, RunnerError};
use crate::id::{PoolName, StageId};
use crate::journal::Holder;
use crate::pool::{PoolStatus, Progress};

/// Who owns a pool, as this runner knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolOwner {
    /// This runner.
    Ours,
    /// Another one.
    Theirs(Holder),
    /// Nobody at the moment; this runner tries to take it.
    Nobodys,
    /// This runner was not told of such a pool.
    Unknown,
}

/// A pool as this runner sees it.
#[derive(Debug, Clone)]
pub struct PoolStanding {
    /// The pool.
    pub name: PoolName,
    /// Who owns it. [`PoolOwner::Unknown`]: the journal has machines or orders
    /// of it that are not over, and this runner was given no such pool.
    pub owner: PoolOwner,
    /// The pool, where it is ours.
    pub status: Option<PoolStatus>,
}

impl Runner {
    /// How a stage's setup stands in a pool of this runner's. Looks at memory only.
    ///
    /// # Errors
    /// The pool is not ours.
    pub fn progress(&self, pool: &PoolName, stage: &StageId) -> Result<Progress, RunnerError> {
        let reign = self.shared.reign_over(pool)?;
        Ok(reign.pool.progress(stage))
    }
}
