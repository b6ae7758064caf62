//! Maps with a fast, seeded hash. The claim path looks up ids a dozen times;
//! with the standard library's hash that is most of its time.

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

/// A hash map.
pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;
/// A hash set.
pub(crate) type Set<K> = HashSet<K, RandomState>;
