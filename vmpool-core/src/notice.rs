//! What a machine's cloud says beforehand of its end. The agent reads it on its
//! machine and tells it over its link.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

/// A cloud's word on what becomes of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// When it was given, or first read.
    pub at: Timestamp,
    /// When the cloud acts, where it says that.
    pub acts_at: Option<Timestamp>,
    /// What it does then, in its own word: `terminate`, `stop`, `hibernate`.
    pub action: String,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// EC2 takes the spot instance back, in two minutes at most.
    SpotInterruption,
    /// EC2 sees an elevated risk of that.
    Rebalance,
}

impl Notice {
    /// The machine is about to end.
    pub fn is_end(&self) -> bool {
        self.kind == NoticeKind::SpotInterruption
    }

    /// What is said of a machine that was lost after this notice.
    pub fn of_lost(&self) -> String {
        let did = match self.kind {
            NoticeKind::SpotInterruption => "reclaimed the spot instance",
            NoticeKind::Rebalance => "had recommended to replace the spot instance",
        };
        format!("EC2 {did} (notice at {})", TimeOfDay(self.at))
    }

    /// The notice, with the time that is left at `now`.
    pub fn with_time_left(&self, now: Timestamp) -> String {
        match self.acts_at.map(|at| at.since(now)) {
            Some(Duration::ZERO) => format!("{self}: {} now", self.action),
            Some(left) => format!("{self}: {} in {} s", self.action, left.as_secs()),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = match self.kind {
            NoticeKind::SpotInterruption => "reclaims",
            NoticeKind::Rebalance => "recommends to replace",
        };
        write!(
            f,
            "EC2 {does} the spot instance (notice at {})",
            TimeOfDay(self.at)
        )
    }
}

/// A moment of these days: `19:42:10 UTC`.
struct TimeOfDay(Timestamp);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.0 / 1000 % 86_400;
        let (hours, minutes) = (secs / 3600, secs / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02} UTC", secs % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_happens_when_and_what_time_is_left() {
        let at = Timestamp(1_505_723_000_000);
        let mut notice = Notice {
            kind: NoticeKind::SpotInterruption,
            at,
            acts_at: Some(at.after(Duration::from_secs(120))),
            action: "terminate".to_owned(),
        };
        assert_eq!(
            notice.with_time_left(at.after(Duration::from_secs(5))),
            "EC2 reclaims the spot instance (notice at 08:23:20 UTC): terminate in 115 s"
        );
        assert_eq!(
            notice.of_lost(),
            "EC2 reclaimed the spot instance (notice at 08:23:20 UTC)"
        );
        let late = notice.with_time_left(at.after(Duration::from_mins(9)));
        assert!(late.ends_with(": terminate now"), "{late}");
        notice.kind = NoticeKind::Rebalance;
        notice.acts_at = None;
        assert_eq!(
            notice.with_time_left(at),
            "EC2 recommends to replace the spot instance (notice at 08:23:20 UTC)"
        );
    }
}
