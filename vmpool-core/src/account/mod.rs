//! One object for all calls to a provider's account, so that faults do not
//! amplify (P8): what many pools ask for at once, again and again, leaves here
//! as few calls, in the order of their urgency.
//!
//! An [`Account`] is shared by the pools whose machines one account pays for.
//! Each of their calls waits for a [`Pass`]:
//!
//! - *Buckets.* Each kind of call has a bucket of tokens of its own
//!   ([`AccountConfig`]), as EC2 has: what is spent on launches never delays a
//!   termination.
//! - *Priorities.* Where several wait for a token, it is given in the order of
//!   [`Priority`], and within one by age. At least each eighth goes to whoever
//!   waited longest, so that nobody starves.
//! - *Throttling.* An answer that the provider throttles closes the bucket until
//!   the provider's own word, and halves its rate; calm doubles it again, one
//!   step in half a minute.
//! - *Retries.* A call whose kind failed last time is a retry, whoever makes it,
//!   and retries are a tenth of the calls, or one in ten seconds. That is what
//!   is left of the traffic while the provider is away.
//! - *Listings* of the same machines are shared by all who asked before it began.
//! - *Places* without capacity are remembered ([`Account::shortage`]).
//! - A [`Breaker`] a pool stops orders of a specification whose machines all fail.
//!
//! The limits are pure and in files of their own: they are told the time. Only
//! `pass.rs` and `listing.rs` wait, by tokio's clock.
//!
//! # What is measured
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `vmpool_provider_calls_total` | counter | `account`, `call`, `outcome`: `fine`, `refused`, `throttled`, `fault`, `abandoned` |
//! | `vmpool_provider_call_wait_seconds` | histogram | `account`, `call` |
//! | `vmpool_provider_call_pace` | gauge: the share of its rate that throttling left | `account`, `call` |
//! | `vmpool_provider_listings_shared_total` | counter: asked for, and answered by another's | `account` |
//! | `vmpool_breaker_open` | gauge: 1 while open | `pool` |

mod breaker;
mod bucket;
mod config;
mod lane;
mod line;
mod listing;
mod metrics;
mod pass;
mod places;
mod retries;
#[cfg(test)]
mod tests;
mod verdict;

pub use breaker::{Allowed, Breaker, Mishap};
pub use config::{AccountConfig, Rate, Retries};
pub use pass::{Account, HeldOff, Pass, Waiting};
pub use places::Shortage;
pub use verdict::{Answer, Verdict};

/// The kinds of call, each with a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// Makes machines.
    Launch,
    /// Shows machines.
    List,
    /// Ends machines.
    Terminate,
    /// Suspends, resumes, diagnoses.
    Other,
}

impl CallKind {
    /// Each kind once, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Launch, Self::List, Self::Terminate, Self::Other];

    /// Its name in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::List => "list",
            Self::Terminate => "terminate",
            Self::Other => "other",
        }
    }
}

/// How urgent a call is; the first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It ends machines, or finds out whether they ended: they cost money and hold slots.
    Terminate,
    /// A request waits for it.
    Request,
    /// It brings a pool to its warm size.
    Refill,
    /// It compares books: nothing waits for it.
    Audit,
}

impl Priority {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Request => "request",
            Self::Refill => "refill",
            Self::Audit => "audit",
        }
    }
}
