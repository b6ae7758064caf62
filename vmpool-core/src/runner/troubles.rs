//! What went wrong in a runner that goes on: kept for people, beside what its
//! pools tell themselves.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::id::PoolName;
use crate::pool::Evidence;

/// Troubles kept; the oldest are forgotten.
const KEPT: usize = 64;

/// What went wrong lately.
#[derive(Debug)]
pub(super) struct Troubles {
    clock: Clock,
    kept: Mutex<VecDeque<(Option<PoolName>, Evidence)>>,
}

impl Troubles {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    /// Something went wrong with `pool`, or with the whole runner. What is told
    /// again and again is kept once, as of the last time.
    pub(super) fn tell(&self, pool: Option<&PoolName>, text: impl Into<String>) {
        let trouble = Evidence {
            at: self.clock.now(),
            machine: None,
            text: text.into(),
        };
        let mut kept = self.kept.lock();
        let same = kept
            .iter()
            .position(|(of, known)| of.as_ref() == pool && known.text == trouble.text);
        if let Some(at) = same {
            kept.remove(at);
        } else {
            tracing::warn!(pool = pool.map(tracing::field::display), "{}", trouble.text);
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((pool.cloned(), trouble));
    }

    /// What went wrong with `pool`, or with the whole runner; the latest last.
    pub(super) fn of(&self, pool: Option<&PoolName>) -> Vec<Evidence> {
        let kept = self.kept.lock();
        let of = kept.iter().filter(|(of, _)| of.as_ref() == pool);
        of.map(|(_, trouble)| trouble.clone()).collect()
    }
}
