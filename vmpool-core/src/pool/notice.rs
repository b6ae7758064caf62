//! What the pool does about a notice of a machine's cloud.
//!
//! | the machine is | EC2 reclaims it | EC2 recommends to replace it |
//! |---|---|---|
//! | on its way up, or ready | never handed out; replaced at once (P6) | replaced once it is idle and not too young |
//! | a stage's | noted for `explain`; the stage goes on | nothing |
//! | lost | its stage is told of the notice | – |

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::clock::Timestamp;
use crate::id::MachineId;
use crate::journal::{MachineRow, RowKey};
use crate::machine::MachineState;
use crate::notice::{Notice, NoticeKind};

/// The journal's name for a notice that a stage's machine got.
pub(crate) const NOTICE: &str = "notice";

/// A machine is not replaced on a recommendation before this age: where each
/// new one is recommended against at once, the pool would do nothing else (P8).
const SETTLED: Duration = Duration::from_mins(10);

/// Events of a machine that are looked through for its last notice.
const LOOKED_THROUGH: usize = 32;

/// What is to be done about a notice.
pub(super) enum Heed {
    /// Nobody may have the machine: drain it.
    Leave(String),
    /// Drain it if nobody has it then.
    Retire(Timestamp, String),
    /// Nothing: its stage goes on.
    GoOn,
}

/// The cloud has said that the machine ends.
pub(super) fn is_ending(notices: &watch::Receiver<Option<Notice>>) -> bool {
    notices.borrow().as_ref().is_some_and(Notice::is_end)
}

/// The next notice; never, where none can come.
///
/// # Cancel safety
/// Safe: one that was not given is given next time.
pub(super) async fn next(notices: &mut watch::Receiver<Option<Notice>>) -> Notice {
    loop {
        if notices.changed().await.is_err() {
            return pending().await;
        }
        if let Some(notice) = notices.borrow_and_update().clone() {
            return notice;
        }
    }
}

impl Shared {
    /// What a notice asks of the pool. That of a stage's machine is noted, for
    /// people, unless one was `noted` before.
    pub(super) fn heed(&self, row: &MachineRow, notice: &Notice, noted: &mut bool) -> Heed {
        match (notice.kind, row.state) {
            (NoticeKind::SpotInterruption, MachineState::Claimed | MachineState::Held) => {
                if !std::mem::replace(noted, true) {
                    self.note_notice(row, notice);
                }
                Heed::GoOn
            }
            (NoticeKind::Rebalance, MachineState::Claimed | MachineState::Held) => Heed::GoOn,
            (NoticeKind::SpotInterruption, _) => Heed::Leave(notice.to_string()),
            (NoticeKind::Rebalance, _) => {
                Heed::Retire(row.launched_at.after(SETTLED), notice.to_string())
            }
        }
    }

    fn note_notice(&self, row: &MachineRow, notice: &Notice) {
        let now = self.now();
        let cause = notice.with_time_left(now);
        let stage = row.stage.as_ref().map(tracing::field::display);
        tracing::warn!(pool = %self.name, machine = %row.id(), stage, "{cause}");
        let stage = row.stage.clone().map(RowKey::Stage);
        {
            let mut book = self.book.lock();
            for key in stage.into_iter().chain([RowKey::Machine(row.id().clone())]) {
                book.waits.note(now, key, NOTICE, cause.clone());
            }
        }
        self.work.notify_one();
    }

    /// Has a machine that is about to end replaced, unless a stage gets it
    /// meanwhile, whose claim was being written: true, and it is tended on.
    pub(super) async fn replace(
        &self,
        id: &MachineId,
        why: String,
        tended: &CancellationToken,
    ) -> bool {
        if tended.is_cancelled() {
            return false;
        }
        let ours = self.book.lock().begin_leaving(id);
        self.work.notify_one();
        self.trouble(Some(id), format!("machine {id}: {why}"));
        self.drain(id, why, None).await;
        if ours {
            self.book.lock().end_leaving(id);
        }
        let row = self.tended_row(id);
        row.is_some_and(|row| row.state == MachineState::Claimed)
    }

    /// Why a machine was lost: first of all by the notice of that, if there was one.
    pub(super) async fn lost_by_notice(&self, id: &MachineId, why: String) -> String {
        let told = self.parts.link.notices(id).borrow().clone();
        if let Some(notice) = told.filter(Notice::is_end) {
            return format!("{}; {why}", notice.of_lost());
        }
        // An earlier runner may have heard of it.
        let key = RowKey::Machine(id.clone());
        match self.parts.journal.history(&key, LOOKED_THROUGH).await {
            Ok(events) => match events.iter().rfind(|event| event.what == NOTICE) {
                Some(noted) => format!("after this notice: {}; {why}", noted.cause),
                None => why,
            },
            Err(error) => {
                tracing::debug!(machine = %id, %error, "look for notices of its end");
                why
            }
        }
    }
}
