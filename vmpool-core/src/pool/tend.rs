//! One task a machine, from its launch until it drains: connects to its agent,
//! offers it when it is ready, watches its health, renews, and replaces it when
//! it is sick or old (P6).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::advance::AdvanceError;
use super::keeper::JOURNAL_PAUSE;
use super::look::Pause;
use super::notice::{self, Heed};
use super::shared::Shared;
use crate::account::Mishap;
use crate::clock::{Timestamp, later};
use crate::id::MachineId;
use crate::journal::MachineRow;
use crate::link::{AgentReport, Health, LinkError};
use crate::machine::{MachineEvent, MachineState};
use crate::stage::StageEnd;

/// Renewals within one span of the agents' idle clock.
const RENEWALS: u32 = 4;

/// A renewal that has not been answered after this long has failed.
pub(super) const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);
/// A connection that held this long was a good one.
const GOOD_CONNECTION: Duration = Duration::from_mins(1);

/// From a connection's loss to the second look at what the provider says.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a machine needs no more tending, or other tending.
enum Ended {
    /// It drains: why, and what its stage is told.
    Drain(String),
    /// Its connection is lost while a stage has it: the agent may come back.
    Reconnect(String),
    /// Its cloud is about to end it: why it is replaced.
    Leave(String),
}

impl Shared {
    /// Starts to tend a machine that the book has.
    pub(super) fn tend_soon(self: &Arc<Self>, id: &MachineId) {
        let tended = self
            .book
            .lock()
            .machine(id)
            .map(|entry| entry.tended.clone());
        let Some(tended) = tended else { return };
        let (shared, id) = (self.clone(), id.clone());
        self.spawn("tend", async move {
            tokio::select! {
                biased;
                () = tended.cancelled() => {}
                () = shared.tend(&id, &tended) => {}
            }
        });
    }

    async fn tend(&self, id: &MachineId, tended: &CancellationToken) {
        let mut lost: Option<String> = None;
        let mut noted = false;
        let mut pause = Pause::new();
        loop {
            let Some(row) = self.tended_row(id) else {
                return;
            };
            let until = self.connect_by(&row, lost.is_some());
            let opened = tokio::select! {
                biased;
                opened = self.open(&row, until) => opened,
                never = self.look_on(), if row.state == MachineState::Claimed => match never {},
            };
            let since = Instant::now();
            let ended = match opened {
                Ok(report) => self.watch(id, &report, &mut noted).await,
                Err(why) => {
                    let why = match lost.take() {
                        Some(lost) => format!("{lost}; then {why}"),
                        None => why,
                    };
                    Ended::Drain(why)
                }
            };
            match ended {
                Ended::Reconnect(why) => {
                    lost = Some(why);
                    if since.elapsed() >= GOOD_CONNECTION {
                        pause = Pause::new();
                    }
                    pause.wait().await;
                }
                // Who looks at it may have restarted it: it ends in its time.
                Ended::Drain(why) if self.is_held(id) => {
                    lost = Some(why);
                    pause.wait().await;
                }
                Ended::Drain(why) => {
                    if !self.give_up(id, why.clone(), tended).await {
                        return;
                    }
                    lost = Some(why);
                    pause.wait().await;
                }
                Ended::Leave(why) => {
                    if !self.replace(id, why, tended).await {
                        return;
                    }
                    pause.wait().await;
                }
            }
        }
    }

    /// Has listings made while a stage waits for its machine to answer: the
    /// provider may say only in a while that it is gone. What it says is taken
    /// in elsewhere, and ends the tending.
    async fn look_on(&self) -> Infallible {
        let mut pause = Pause::beginning_with(LOOK_AGAIN);
        loop {
            pause.wait().await;
            self.look_soon();
        }
    }

    /// The machine's row while it is one that needs a connection.
    pub(super) fn tended_row(&self, id: &MachineId) -> Option<Arc<MachineRow>> {
        use MachineState::{Booting, Claimed, Held, Ready, Resuming};
        let row = self.book.lock().machine(id).map(|entry| entry.row.clone());
        row.filter(|row| matches!(row.state, Booting | Ready | Resuming | Claimed | Held))
    }

    /// Until when a connection must be open.
    fn connect_by(&self, row: &MachineRow, reconnects: bool) -> Instant {
        let deadlines = self.config.deadlines;
        if row.state == MachineState::Booting && !reconnects {
            self.parts
                .clock
                .instant(row.launched_at.after(deadlines.booting))
        } else {
            later(deadlines.prepare)
        }
    }

    /// Opens the connection; retries what a dial can't mend only if the address was missing.
    async fn open(&self, row: &MachineRow, until: Instant) -> Result<AgentReport, String> {
        let mut pause = Pause::new();
        loop {
            let Some(current) = self.tended_row(row.id()) else {
                return Err("it drains".to_owned());
            };
            let opening = self.parts.link.open(&current.machine, self.term, self);
            let waited = || {
                let waited = self.waited(row);
                match self.parts.link.trouble(row.id()) {
                    Some(last) => format!("its agent did not connect within {waited:?}: {last}"),
                    None => format!("its agent did not connect within {waited:?}"),
                }
            };
            match tokio::time::timeout_at(until, opening).await {
                Ok(Ok(report)) => return Ok(report),
                Ok(Err(LinkError::NoAddress { .. })) => {
                    self.look().await;
                    if Instant::now() >= until {
                        return Err(waited());
                    }
                    pause.wait().await;
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(waited()),
            }
        }
    }

    fn waited(&self, row: &MachineRow) -> Duration {
        self.now().since(row.launched_at)
    }

    /// Connected: until when, and what then.
    async fn watch(&self, id: &MachineId, report: &AgentReport, noted: &mut bool) -> Ended {
        let Some(mut row) = self.tended_row(id) else {
            return Ended::Drain("it drains".to_owned());
        };
        if let (MachineState::Booting, Some(stage)) = (row.state, &report.stage)
            && self.adopt_stage(id, stage, report).await
        {
            let Some(adopted) = self.tended_row(id) else {
                return Ended::Drain("it drains".to_owned());
            };
            row = adopted;
        }
        if row.state == MachineState::Booting {
            self.tell_boot(&row, &report.boot);
        }
        if report.stage != row.stage {
            let has = report.stage.as_ref().map_or("none", |stage| stage.as_str());
            if !has_served(&row) || report.stage.is_some() {
                return Ended::Drain(format!("its agent has another stage: {has}"));
            }
        }
        let mut notices = self.parts.link.notices(id);
        let told = notices.borrow_and_update().clone();
        let told = told.filter(|notice| !has_served(&row) && notice.is_end());
        if let Some(notice) = told {
            return Ended::Leave(notice.to_string());
        }
        // What was said before, to another connection too, is heeded below.
        notices.mark_changed();
        let mut health = self.parts.link.health(id);
        if !has_served(&row) && !self.make_ready(&row, &health).await {
            return Ended::Drain("it could not become ready".to_owned());
        }
        if row.hold.is_some() {
            self.tell_hold_again(id).await;
        }
        let mut retires = self.too_old_at(&row);
        let mut why = "it is too old to finish another stage".to_owned();
        let mut ages = true;
        let idle = self
            .parts
            .link
            .bootstrap(&row.machine.order, row.machine.attempt)
            .clocks
            .idle;
        let mut renew = tokio::time::interval((idle / RENEWALS).max(Duration::from_secs(1)));
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renew.tick().await;
        loop {
            tokio::select! {
                biased;
                lost = connection_lost(&mut health) => {
                    return match self.tended_row(id).map(|row| row.state) {
                        Some(MachineState::Claimed | MachineState::Held) => {
                            // The provider may know already that it is gone.
                            self.look_soon();
                            Ended::Reconnect(lost)
                        }
                        _ => Ended::Drain(lost),
                    };
                }
                _ = renew.tick() => {
                    let renewed = self.parts.link.renew(id, self.term);
                    match tokio::time::timeout(RENEWAL_PATIENCE, renewed).await {
                        Ok(Ok(())) => self.tell_hold_again(id).await,
                        Ok(Err(error)) => tracing::debug!(machine = %id, %error, "not renewed"),
                        Err(_) => tracing::debug!(machine = %id, "its renewal was not answered"),
                    }
                }
                notice = notice::next(&mut notices) => {
                    let Some(row) = self.tended_row(id) else {
                        continue;
                    };
                    match self.heed(&row, &notice, noted) {
                        Heed::GoOn => {}
                        Heed::Leave(why) => return Ended::Leave(why),
                        Heed::Retire(from, because) => {
                            let from = self.parts.clock.instant(from);
                            if from < retires {
                                (retires, why) = (from, because);
                            }
                        }
                    }
                }
                () = tokio::time::sleep_until(retires), if ages => {
                    let ready = self.queue.take(|ready| ready.row.id() == id);
                    if ready.is_some() {
                        return Ended::Leave(why);
                    }
                    // Where its claim is only being written, it may come back.
                    let row = self.tended_row(id);
                    ages = row.is_some_and(|row| row.state == MachineState::Ready);
                    retires = later(JOURNAL_PAUSE);
                }
            }
        }
    }

    fn too_old_at(&self, row: &MachineRow) -> Instant {
        let config = &self.config;
        let useful = config.max_age.saturating_sub(config.deadlines.stage);
        // Else a pool of long stages would replace its machines all the time.
        let useful = useful.max(config.max_age / 2);
        // One that was adopted is older than the journal's memory of it.
        let max_age = u64::try_from(config.max_age.as_millis()).unwrap_or(u64::MAX);
        let ordered_at = Timestamp(row.expires_at.0.saturating_sub(max_age));
        let born = row.launched_at.min(ordered_at);
        self.parts.clock.instant(born.after(useful))
    }

    /// Ready in the journal, then in the queue.
    async fn make_ready(&self, row: &MachineRow, health: &watch::Receiver<Health>) -> bool {
        let id = row.id();
        let cause = "its agent is connected";
        let mut offered = false;
        if row.state != MachineState::Ready {
            offered = loop {
                match self.advance(id, MachineEvent::Connected, cause, None).await {
                    Ok(_) => break true,
                    Err(AdvanceError::Commit(error)) => {
                        self.trouble(Some(id), format!("write down that {id} is ready: {error}"));
                    }
                    Err(AdvanceError::Unknown | AdvanceError::Refused(_)) => break false,
                }
                tokio::time::sleep(JOURNAL_PAUSE).await;
                if !health.borrow().is_answering() {
                    return false;
                }
            };
        }
        {
            let mut book = self.book.lock();
            if book.is_draining() {
                return false;
            }
            // It was ready before the pool started, or its write was in doubt.
            let row = book.machine(id).map(|entry| entry.row.clone());
            let ready = row.filter(|row| row.state == MachineState::Ready);
            match ready {
                Some(row) if !offered => self.offer(&mut book, row, health.clone()),
                None if !offered => return false,
                _ => {}
            }
        }
        // Ready and nobody waits: there may be more than are wanted now.
        self.work.notify_one();
        true
    }

    /// Drains the machine, unless a stage gets it meanwhile, whose claim was
    /// being written when its connection broke: true, and it is to be
    /// connected again.
    async fn give_up(&self, id: &MachineId, why: String, tended: &CancellationToken) -> bool {
        if tended.is_cancelled() {
            return false;
        }
        let Some(row) = self.tended_row(id) else {
            return false;
        };
        if row.state == MachineState::Booting {
            self.failed(Mishap::Boot, &why);
        }
        // Another is ordered while the provider says what it knows of this one.
        let ours = self.book.lock().begin_leaving(id);
        self.work.notify_one();
        let said = self.diagnose(id).await;
        let text = match said {
            Some(said) => format!("machine {id}: {why}; {said}"),
            None => format!("machine {id}: {why}"),
        };
        self.trouble(Some(id), text);
        let has_stage = |row: &MachineRow| row.state == MachineState::Claimed;
        let why = if has_stage(&row) {
            self.lost_by_notice(id, why).await
        } else {
            why
        };
        let end = has_stage(&row).then(|| StageEnd::MachineLost(why.clone().into()));
        self.drain(id, why, end).await;
        if ours {
            self.book.lock().end_leaving(id);
        }
        self.tended_row(id).is_some_and(|row| has_stage(&row))
    }
}

/// It has a stage or had one, and gets no other (P2).
fn has_served(row: &MachineRow) -> bool {
    matches!(row.state, MachineState::Claimed | MachineState::Held)
}

/// Ends when the connection does not answer any more; says why.
async fn connection_lost(health: &mut watch::Receiver<Health>) -> String {
    match health
        .wait_for(|health| !health.is_answering())
        .await
        .as_deref()
    {
        Ok(Health::Lost { reason }) => reason.clone(),
        Ok(_) => "its connection was closed".to_owned(),
        Err(_) => "its link is gone".to_owned(),
    }
}
