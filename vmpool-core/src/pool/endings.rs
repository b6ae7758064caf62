//! The rhythm of machines' ends: when one is told to end, when it is told again,
//! and when a listing is asked whether any has ended. Pure.
//!
//! A machine that joins is told at once; the look is everybody's, and a second
//! after the last one at the soonest. So neither a stream of ends nor many that
//! take their time cost a listing each (P8).

use std::time::Duration;

use tokio::time::Instant;

use super::look::LONGEST_PAUSE;
use crate::id::MachineId;
use crate::map::Map;

/// From a machine's call, or the last look, to the next look. Doubles with each.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// One that took the call this long ago, and has not ended, is told again.
const AGAIN: Duration = Duration::from_secs(30);

/// The machines that are to end, until the provider has said the word of each.
#[derive(Debug)]
pub(super) struct Endings {
    /// When the provider took the last call for it. None: it has not yet.
    told: Map<MachineId, Option<Instant>>,
    looked: Instant,
    pause: Duration,
}

impl Endings {
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            told: Map::default(),
            looked: now,
            pause: FIRST_LOOK,
        }
    }

    /// Which of all `ending` ones are to be told now: those that joined; with
    /// each look also those whose call was not taken, or was long ago.
    pub(super) fn untold(&mut self, ending: &[MachineId], now: Instant) -> Vec<MachineId> {
        let mut before = std::mem::take(&mut self.told);
        let is_due = self.is_due(now);
        let mut tell = Vec::new();
        for id in ending {
            let known = before.remove(id);
            if known.is_none() {
                self.pause = FIRST_LOOK;
            }
            let took = known.flatten();
            let again = is_due && took.is_none_or(|at| now.duration_since(at) >= AGAIN);
            if known.is_none() || again {
                tell.push(id.clone());
            }
            self.told.insert(id.clone(), took);
        }
        tell
    }

    /// The provider has taken the call for these.
    pub(super) fn told(&mut self, ids: &[MachineId], now: Instant) {
        for id in ids {
            self.told.insert(id.clone(), Some(now));
        }
    }

    /// It is time for a look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next()
    }

    /// A listing was taken in.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looked = now;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Instant {
        self.looked + self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ids(names: &[&str]) -> Vec<MachineId> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn p8_each_machine_is_told_once_however_many_join() {
        let now = Instant::now();
        let mut endings = Endings::begin(now);
        assert_eq!(endings.untold(&ids(&["a"]), now), ids(&["a"]));
        endings.told(&ids(&["a"]), now);
        assert_eq!(endings.untold(&ids(&["a", "b"]), now), ids(&["b"]));
        endings.told(&ids(&["b"]), now);
        for seconds in 1..30 {
            let later = now + SECOND * seconds;
            assert_eq!(endings.untold(&ids(&["a", "b"]), later), ids(&[]));
        }
    }

    #[test]
    fn p8_looks_become_rarer_and_a_stream_of_ends_costs_one_a_second() {
        let mut now = Instant::now();
        let mut endings = Endings::begin(now);
        let mut waited = Vec::new();
        let _ = endings.untold(&ids(&["a"]), now);
        for _ in 0..6 {
            waited.push(endings.next().duration_since(now).as_secs());
            now = endings.next();
            endings.looked(now);
        }
        assert_eq!(waited, [1, 2, 4, 8, 10, 10]);
        // Who joins does not wait for what the others have come to.
        let _ = endings.untold(&ids(&["a", "b"]), now);
        assert_eq!(endings.next(), now + SECOND);
        let _ = endings.untold(&ids(&["a", "b", "c"]), now + SECOND / 2);
        assert_eq!(endings.next(), now + SECOND);
    }

    #[test]
    fn p1_what_was_not_taken_or_came_to_nothing_is_told_again_with_a_look() {
        let now = Instant::now();
        let mut endings = Endings::begin(now);
        let both = ids(&["taken", "not taken"]);
        let _ = endings.untold(&both, now);
        endings.told(&ids(&["taken"]), now);
        assert_eq!(endings.untold(&both, now), ids(&[]));
        assert_eq!(endings.untold(&both, now + SECOND), ids(&["not taken"]));
        let late = now + AGAIN;
        assert!(endings.is_due(late));
        assert_eq!(endings.untold(&both, late), both);
        // One that is gone, and whose id is heard again, is a new one.
        let _ = endings.untold(&[], late);
        assert_eq!(endings.untold(&ids(&["taken"]), late), ids(&["taken"]));
    }
}
