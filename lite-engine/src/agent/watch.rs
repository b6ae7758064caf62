//! What a runner sees of the machine while it watches: facts at its interval,
//! and notices of the machine's cloud.
//!
//! Nothing is queued: an event is made when the connection has room for it, so
//! one who reads slowly costs nothing and is told the latest.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use vmpool_core::{Notice, NoticeKind};
use vmpool_proto::agent::v1::watch_event::Kind;
use vmpool_proto::agent::v1::{self as proto, WatchEvent};

use crate::facts::{Gauge, Space};

/// Facts are told so often at most, and at least.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// One who watches.
pub(super) struct Watcher {
    notices: watch::Receiver<Option<Notice>>,
    facts: Option<Looks>,
    closing: CancellationToken,
}

/// Looks at the machine, each when its time has come.
struct Looks {
    gauge: Gauge,
    ticks: Interval,
    disk: PathBuf,
}

impl Watcher {
    /// Facts `every` so many milliseconds, of the disk that has `disk` too; of
    /// 0 only notices. Ends with `closing`.
    pub(super) fn new(
        every_ms: u64,
        disk: PathBuf,
        mut notices: watch::Receiver<Option<Notice>>,
        closing: CancellationToken,
    ) -> Self {
        // What was said before is told too.
        notices.mark_changed();
        let facts = (every_ms > 0).then(|| {
            let every = Duration::from_millis(every_ms).clamp(EVERY.0, EVERY.1);
            let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Looks {
                gauge: Gauge::start(),
                ticks,
                disk,
            }
        });
        Self {
            notices,
            facts,
            closing,
        }
    }

    /// All that it sees.
    pub(super) fn events(self) -> impl Stream<Item = Result<WatchEvent, Status>> + Send {
        stream::unfold(self, async |mut watcher| {
            let kind = watcher.next().await?;
            Some((Ok(WatchEvent { kind: Some(kind) }), watcher))
        })
    }

    async fn next(&mut self) -> Option<Kind> {
        let Self {
            notices,
            facts,
            closing,
        } = self;
        let facts = async {
            match facts {
                Some(looks) => looks.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => None,
            notice = next(notices) => Some(Kind::Notice(notice?)),
            facts = facts => Some(Kind::Facts(facts)),
        }
    }
}

impl Looks {
    async fn next(&mut self) -> proto::Facts {
        self.ticks.tick().await;
        let (sample, space) = (self.gauge.look(), Space::at(&self.disk));
        proto::Facts {
            cpu_pct: sample.cpu_pct,
            memory_total: sample.memory.total,
            memory_available: sample.memory.available,
            disk_total: space.total,
            disk_available: space.available,
            disk_read_per_sec: sample.disk_read_per_sec,
            disk_written_per_sec: sample.disk_written_per_sec,
        }
    }
}

async fn next(notices: &mut watch::Receiver<Option<Notice>>) -> Option<proto::Notice> {
    loop {
        // The agent is gone.
        notices.changed().await.ok()?;
        if let Some(notice) = &*notices.borrow_and_update() {
            return Some(to_wire(notice));
        }
    }
}

fn to_wire(notice: &Notice) -> proto::Notice {
    let kind = match notice.kind {
        NoticeKind::SpotInterruption => proto::notice::Kind::SpotInterruption,
        NoticeKind::Rebalance => proto::notice::Kind::Rebalance,
    };
    proto::Notice {
        kind: kind.into(),
        at_ms: notice.at.0,
        acts_at_ms: notice.acts_at.map(|at| at.0),
        action: notice.action.clone(),
    }
}

#[cfg(test)]
mod tests {
    use vmpool_core::Timestamp;

    use super::*;

    fn notice(action: &str) -> Notice {
        Notice {
            kind: NoticeKind::SpotInterruption,
            at: Timestamp(7),
            acts_at: None,
            action: action.to_owned(),
        }
    }

    fn watcher(every_ms: u64) -> (Watcher, watch::Sender<Option<Notice>>, CancellationToken) {
        let (told, closing) = (watch::Sender::new(None), CancellationToken::new());
        let (notices, until) = (told.subscribe(), closing.clone());
        let watcher = Watcher::new(every_ms, "/".into(), notices, until);
        (watcher, told, closing)
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_told_the_latest_and_nothing_is_kept_for_it() {
        let (mut watcher, told, closing) = watcher(1);
        for action in ["stop", "hibernate", "terminate"] {
            told.send_replace(Some(notice(action)));
        }
        tokio::time::sleep(EVERY.0 * 100).await;
        let first = watcher.next().await;
        assert_eq!(first, Some(Kind::Notice(to_wire(&notice("terminate")))));
        let begun = Instant::now();
        for _ in 0..3 {
            let next = watcher.next().await;
            assert!(matches!(next, Some(Kind::Facts(_))), "{next:?}");
        }
        assert_eq!(begun.elapsed(), EVERY.0 * 2, "the first one was due");
        closing.cancel();
        assert_eq!(watcher.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_no_facts_costs_nothing_until_there_is_a_notice() {
        let (mut watcher, told, _closing) = watcher(0);
        let day = Duration::from_hours(24);
        let none = tokio::time::timeout(day, watcher.next()).await;
        assert!(none.is_err(), "{none:?}");
        told.send_replace(Some(notice("stop")));
        assert!(matches!(watcher.next().await, Some(Kind::Notice(_))));
        drop(told);
        assert_eq!(watcher.next().await, None, "the agent is gone");
    }
}
