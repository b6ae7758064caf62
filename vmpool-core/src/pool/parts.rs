//! What a pool is built from, and what is said of its start and its end.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::Salvage;
use crate::account::Account;
use crate::clock::Clock;
use crate::id::{MachineId, PoolName, Term};
use crate::journal::{Journal, JournalError};
use crate::link::AgentLink;
use crate::machine::MachineState;
use crate::provider::Provider;

/// What a pool is built from.
#[derive(Clone)]
pub struct PoolParts {
    /// Where its machines come from.
    pub provider: Arc<dyn Provider>,
    /// The line to their agents.
    pub link: Arc<dyn AgentLink>,
    /// What it remembers.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Clock,
    /// Who saves what only a machine has, before it is ended.
    pub salvage: Option<Arc<dyn Salvage>>,
    /// The budget of calls to the provider's account.
    pub account: Account,
}

impl PoolParts {
    /// Parts of a pool whose machines hold nothing that must be saved.
    pub fn new(
        provider: Arc<dyn Provider>,
        link: Arc<dyn AgentLink>,
        journal: Arc<dyn Journal>,
        clock: Clock,
    ) -> Self {
        Self {
            provider,
            link,
            journal,
            clock,
            salvage: None,
            account: Account::default(),
        }
    }

    /// The same, sharing an account's budget with other pools.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        Self { account, ..self }
    }

    /// The same with somebody who saves.
    #[must_use]
    pub fn with_salvage(self, salvage: Arc<dyn Salvage>) -> Self {
        Self {
            salvage: Some(salvage),
            ..self
        }
    }
}

/// Under what a pool rules, where its owner keeps that in the journal.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The term, from [`Journal::take`].
    pub term: Term,
    /// False while the lease was not renewed in time: nothing is written then.
    pub may_write: watch::Receiver<bool>,
}

impl fmt::Debug for PoolParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolParts").finish_non_exhaustive()
    }
}

/// Why a pool did not start.
#[derive(Debug, Clone, thiserror::Error)]
#[error("start pool {pool}")]
pub struct StartError {
    /// The pool.
    pub pool: PoolName,
    /// What the journal said.
    #[source]
    pub source: JournalError,
}

/// Machines that were not gone when the patience of a shut-down ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// The machines, with their states.
    pub machines: Vec<(MachineId, MachineState)>,
    /// Slots of which it is not known whether a machine fills them.
    pub open_slots: u32,
}

impl Leftovers {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.open_slots == 0
    }
}
