//! What happens by itself, and when.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Something that is due for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) instance: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `pending` becomes `running`, or the launch fails.
    Run,
    /// `shutting-down` becomes `terminated`.
    Terminated,
    /// `stopping` becomes `stopped`.
    Stopped,
    /// The spot notice's time is over.
    Reclaim,
    /// A terminated instance loses its tags.
    Untag,
    /// A terminated instance is listed no longer.
    Forget,
}

/// By time; at one time in the order in which they were put there.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeMap<(Timestamp, u64), Due>,
    next: u64,
}

impl Agenda {
    pub(crate) fn put(&mut self, at: Timestamp, due: Due) {
        self.due.insert((at, self.next), due);
        self.next += 1;
    }

    /// The next thing that is due by now.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Due)> {
        let entry = self.due.first_entry()?;
        let at = entry.key().0;
        (at <= now).then(|| (at, entry.remove()))
    }

    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.due.keys().next().map(|(at, _)| *at)
    }
}
