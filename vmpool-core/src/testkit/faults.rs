//! A plan of faults: what goes wrong at which call.

use std::collections::HashMap;
use std::time::Duration;

use crate::provider::ErrorKind;

/// A provider's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Provider::launch`](crate::Provider::launch)
    Launch,
    /// [`Provider::list`](crate::Provider::list)
    List,
    /// [`Provider::terminate`](crate::Provider::terminate)
    Terminate,
    /// [`Provider::suspend`](crate::Provider::suspend)
    Suspend,
    /// [`Provider::resume`](crate::Provider::resume)
    Resume,
    /// [`Provider::diagnose`](crate::Provider::diagnose)
    Diagnose,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is done, and the call says so.
    Fail(ErrorKind),
    /// It is done, but only after this long.
    Delay(Duration),
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// A launch gets only so many machines; the others are refused for want of capacity.
    Partial(u32),
    /// It is done, and neither this call nor any later one is ever answered,
    /// until [`FakeProvider::revive`](super::FakeProvider::revive).
    Die,
    /// The provider has a bug: the call panics, with nothing done.
    Panic,
}

/// Faults by call.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    at: HashMap<(Call, u64), Fault>,
    always: HashMap<Call, Fault>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// At the `nth` call of its kind, from 1.
    #[must_use]
    pub fn at(mut self, call: Call, nth: u64, fault: Fault) -> Self {
        self.at.insert((call, nth), fault);
        self
    }

    /// At every call of its kind that has no fault of its own.
    #[must_use]
    pub fn always(mut self, call: Call, fault: Fault) -> Self {
        self.always.insert(call, fault);
        self
    }

    pub(super) fn fault(&self, call: Call, nth: u64) -> Option<Fault> {
        self.at
            .get(&(call, nth))
            .or_else(|| self.always.get(&call))
            .copied()
    }
}
