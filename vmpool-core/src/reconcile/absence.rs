//! What listings have not shown, and how often.

use std::hash::Hash;

use crate::id::{MachineId, OrderId};
use crate::map::Map;

/// Listings that must not show a thing before it counts as absent.
const PROOF: u8 = 2;

/// Counts, from one pass to the next, the listings that count against a thing.
#[derive(Debug, Default)]
pub struct Absences {
    pub(super) machines: Missing<MachineId>,
    pub(super) orders: Missing<OrderId>,
}

/// What was missing when it was looked for last. What was there since is forgotten.
#[derive(Debug)]
pub(super) struct Missing<K> {
    before: Map<K, u8>,
    now: Map<K, u8>,
}

impl<K> Default for Missing<K> {
    fn default() -> Self {
        Self {
            before: Map::default(),
            now: Map::default(),
        }
    }
}

impl<K: Hash + Eq + Clone> Missing<K> {
    /// It is not in this listing, which `counts` or does not. True: it is proven absent.
    pub(super) fn missing(&mut self, key: &K, counts: bool) -> bool {
        let before = self.before.get(key).copied().unwrap_or(0);
        let seen = before.saturating_add(u8::from(counts));
        if seen > 0 {
            self.now.insert(key.clone(), seen);
        }
        seen >= PROOF
    }

    /// The listing is through.
    pub(super) fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}
