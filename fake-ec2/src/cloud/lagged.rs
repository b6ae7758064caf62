//! A value that readers see late.
//!
//! "Eventual consistency in the Amazon EC2 API" (docs.aws.amazon.com/ec2/
//! latest/devguide/eventual-consistency.html): what a call changed may not be
//! visible to the calls after it for a while; a new resource may be unknown.

use jiff::Timestamp;

/// The value now, and what readers still see instead of it.
#[derive(Debug, Clone)]
pub(crate) struct Lagged<T> {
    current: T,
    /// What is seen until then (`None`: nothing); times never fall.
    before: Vec<(Timestamp, Option<T>)>,
}

impl<T: Clone> Lagged<T> {
    /// A value that nobody sees until then.
    pub(crate) fn new(value: T, hidden_until: Timestamp) -> Self {
        Self {
            current: value,
            before: vec![(hidden_until, None)],
        }
    }

    /// The truth.
    pub(crate) fn current(&self) -> &T {
        &self.current
    }

    /// Changes the value; readers see the old one until then.
    pub(crate) fn change(
        &mut self,
        now: Timestamp,
        seen_from: Timestamp,
        with: impl FnOnce(&mut T),
    ) {
        self.before.retain(|(until, _)| *until > now);
        let latest = self.before.last().map_or(now, |(until, _)| *until);
        let until = seen_from.max(latest);
        if until > latest {
            self.before.push((until, Some(self.current.clone())));
        }
        with(&mut self.current);
    }

    /// What a reader sees; a `lucky` one asks a replica that is up to date.
    pub(crate) fn seen(&self, now: Timestamp, lucky: bool) -> Option<&T> {
        if lucky {
            return Some(&self.current);
        }
        match self.before.iter().find(|(until, _)| *until > now) {
            Some((_, old)) => old.as_ref(),
            None => Some(&self.current),
        }
    }

    /// Whether some readers may see something else than the truth.
    pub(crate) fn unsettled(&self, now: Timestamp) -> bool {
        self.before.last().is_some_and(|(until, _)| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_new_value_is_unknown_and_a_changed_one_is_old_for_a_while() {
        let mut value = Lagged::new("pending", at(3));
        assert_eq!(value.seen(at(2), false), None);
        assert_eq!(value.seen(at(2), true), Some(&"pending"));
        assert_eq!(value.seen(at(3), false), Some(&"pending"));
        value.change(at(5), at(8), |value| *value = "running");
        assert_eq!(value.seen(at(7), false), Some(&"pending"));
        assert_eq!(value.seen(at(8), false), Some(&"running"));
    }

    #[test]
    fn changes_are_never_seen_out_of_order() {
        let mut value = Lagged::new(0, at(0));
        value.change(at(0), at(10), |value| *value = 1);
        value.change(at(1), at(2), |value| *value = 2);
        assert_eq!(value.seen(at(5), false), Some(&0));
        assert_eq!(value.seen(at(10), false), Some(&2));
    }
}
