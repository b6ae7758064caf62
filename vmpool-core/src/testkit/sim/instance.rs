//! A machine of the cloud, and what a listing shows of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::provider::{ListedState, Tags};

/// A machine that is over is shown as such for this long.
const REMEMBERED: Duration = Duration::from_mins(20);

/// A machine, from its launch on.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) tags: Tags,
    pub(super) address: SocketAddr,
    pub(super) shown_from: Timestamp,
    pub(super) ending: Option<Timestamp>,
    pub(super) gone: Option<Timestamp>,
    /// How long listings lag behind its changes.
    pub(super) lag: Duration,
}

impl Instance {
    pub(super) fn state(&self) -> ListedState {
        match (self.ending, self.gone) {
            (_, Some(_)) => ListedState::Terminated,
            (Some(_), None) => ListedState::Ending,
            (None, None) => ListedState::Alive,
        }
    }

    /// As a listing shows it that looks at `now`.
    pub(super) fn shown(&self, now: Timestamp) -> Option<ListedState> {
        let seen = |at: Option<Timestamp>| at.is_some_and(|at| at.after(self.lag) <= now);
        if now < self.shown_from {
            return None;
        }
        if !seen(self.gone) {
            let state = if seen(self.ending) {
                ListedState::Ending
            } else {
                ListedState::Alive
            };
            return Some(state);
        }
        let forgotten = self.gone.is_some_and(|at| at.after(REMEMBERED) <= now);
        (!forgotten).then_some(ListedState::Terminated)
    }
}
