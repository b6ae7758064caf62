//! Who owns a pool: one runner at a time holds its ready queue, orders,
//! reconciles and speaks to its agents (DESIGN §6).
//!
//! Ownership is a lease in the journal, judged by the journal's own clock, and
//! a [`Term`](crate::Term) that fences whoever held it before.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{PoolName, RunnerId, Term};

/// A runner as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The runner. One that restarts with its state is the same holder.
    pub runner: RunnerId,
    /// Where the other runners reach it; empty where there are none.
    pub url: Arc<str>,
}

/// A pool's owner at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The pool.
    pub pool: PoolName,
    /// Who owns it, or did last.
    pub holder: Holder,
    /// The term under which it does.
    pub term: Term,
    /// How long its lease still lasts by the journal's clock; zero: it is over.
    pub left: Duration,
}

/// What came of asking for a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is ours, under a term of which no write was made before.
    Ours(Term),
    /// Another runner has it.
    Theirs(Ownership),
}
