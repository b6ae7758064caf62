//! Maps with a fast, seeded hash. The claim path looks up ids a dozen times;
//! with the standard library's hash that is most of its time.

use std::collections::{HashMap, HashSet};

/// A simulation replays byte for byte, so where it may run, maps are gone
/// through in the same order each time. A runner is built without it.
#[cfg(any(test, feature = "testkit"))]
use foldhash::quality::FixedState as State;
#[cfg(not(any(test, feature = "testkit")))]
use foldhash::quality::RandomState as State;

/// A hash map.
pub(crate) type Map<K, V> = HashMap<K, V, State>;
/// A hash set.
pub(crate) type Set<K> = HashSet<K, State>;
