//! A journal that loses what was submitted and not yet durable.
//!
//! Rows are what a [`MemoryJournal`] has: what is there is durable, and outlives
//! every runner. On its way there a write takes time, may be refused, and may
//! end in doubt; where its runner dies or nobody waits for it any more, it is
//! made or not, as the dice say, at once or later. And all of it may be lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::life::Life;
use super::world::World;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, StageId, Term};
use crate::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, Journal, JournalError, MachineRow,
    MemoryJournal, OrderRow, Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};

/// What outlives the runners.
#[derive(Debug, Default)]
pub(super) struct Durable {
    rows: Mutex<Arc<MemoryJournal>>,
    state: Mutex<State>,
    loss: Notify,
}

#[derive(Debug, Default)]
struct State {
    away_until: Option<Instant>,
    lost_at: Option<Instant>,
    /// Writes that are submitted and not decided, by the life that made them.
    under_way: BTreeMap<u64, (String, Batch)>,
    next: u64,
}

impl Durable {
    /// What is durable, to be looked at.
    pub(super) fn rows(&self) -> Arc<MemoryJournal> {
        self.rows.lock().clone()
    }

    /// All rows are lost, and what is on its way to them. No runner lives.
    pub(super) fn lose(&self) {
        *self.rows.lock() = Arc::default();
        let mut state = self.state.lock();
        state.under_way.clear();
        state.lost_at = Some(Instant::now());
        self.loss.notify_waiters();
    }

    /// Ends when all rows are lost once more.
    pub(super) async fn lost(&self) {
        self.loss.notified().await;
    }

    /// How long ago it was lost, if it was.
    pub(super) fn lost_for(&self) -> Option<Duration> {
        self.state.lock().lost_at.map(|at| at.elapsed())
    }

    /// The database can't be reached for so long.
    pub(super) fn away(&self, span: Duration) {
        self.state.lock().away_until = Some(Instant::now() + span);
    }

    pub(super) fn is_away(&self) -> bool {
        let until = self.state.lock().away_until;
        until.is_some_and(|until| until > Instant::now())
    }

    fn submit(&self, life: &Life, batch: Batch) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state
            .under_way
            .insert(number, (life.name().to_owned(), batch));
        number
    }

    /// The write, if nobody has decided about it yet.
    fn decide(&self, number: u64) -> Option<Batch> {
        self.state
            .lock()
            .under_way
            .remove(&number)
            .map(|(_, batch)| batch)
    }

    /// A runner has died: its writes that were under way are made, or not.
    pub(super) async fn crash(&self, world: &World, life: &Life) {
        let undecided: Vec<Batch> = {
            let mut state = self.state.lock();
            let mut undecided = Vec::new();
            state.under_way.retain(|_, (of, batch)| {
                let its = of == life.name();
                if its {
                    undecided.push(batch.clone());
                }
                !its
            });
            undecided
        };
        for batch in undecided {
            world
                .settle_write(&self.rows(), batch, "its runner died")
                .await;
        }
    }
}

impl World {
    /// Makes a write durable, if nothing speaks against it.
    async fn write(&self, rows: &MemoryJournal, batch: Batch) -> Result<(), CommitError> {
        let pools = rows.pools(self.clock.now()).await.unwrap_or_default();
        let pool = pools.into_iter().find(|known| known.pool == batch.pool);
        let written = rows.commit(batch.clone()).await;
        if written.is_ok() {
            self.check_durable(&batch, pool.map(|pool| pool.term));
        }
        written
    }

    /// A write that nobody waits for is made or not.
    async fn settle_write(&self, rows: &MemoryJournal, batch: Batch, why: &str) {
        let what = shown(&batch);
        let made = self.dice.chance(50);
        let done = made && self.write(rows, batch).await.is_ok();
        let done = if done { "made" } else { "not made" };
        self.trace.say(format_args!("{what} is {done}: {why}"));
    }

    /// As [`World::settle_write`], after a while: the server has it and goes on.
    fn settle_later(self: &Arc<Self>, batch: Batch, why: &'static str) {
        let world = self.clone();
        let rows = self.journal.rows();
        let later = self.dice.span(Duration::ZERO, Duration::from_secs(2));
        self.spawn(async move {
            tokio::time::sleep(later).await;
            world.settle_write(&rows, batch, why).await;
        });
    }
}

/// The journal as one life of a runner sees it.
pub(super) struct SimJournal {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
}

/// A write whose caller may go away before it is decided.
struct UnderWay<'a> {
    of: &'a SimJournal,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.of.life.is_dead() {
            // Decided when it died.
            return;
        }
        if let Some(batch) = self.of.world.journal.decide(self.number) {
            self.of.world.settle_later(batch, "nobody waits for it");
        }
    }
}

fn away(attempted: &str) -> JournalError {
    JournalError {
        attempted: attempted.to_owned(),
        reason: "the database is away".to_owned(),
    }
}

pub(super) fn shown(batch: &Batch) -> String {
    let changes = batch.changes.iter().map(|change| {
        let (key, version) = (change.row.key(), change.row.version());
        format!("{key} {} v{version}", change.what)
    });
    let notes = batch
        .notes
        .iter()
        .map(|note| format!("{} {}", note.key, note.what));
    changes.chain(notes).collect::<Vec<_>>().join(", ")
}

impl SimJournal {
    async fn write(&self, batch: Batch, fails: bool) -> Result<(), CommitError> {
        let (world, weather) = (&self.world, self.world.weather());
        let unavailable = |reason: &str| CommitError::Unavailable {
            reason: reason.to_owned(),
        };
        if fails {
            return Err(unavailable("it fails once"));
        }
        if world.journal.is_away() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Err(unavailable("the database is away"));
        }
        if world.dice.chance(weather.commit_fails) {
            return Err(unavailable("the disk is full"));
        }
        let under_way = UnderWay {
            of: self,
            number: world.journal.submit(&self.life, batch),
        };
        let slow = world.dice.chance(weather.commit_slow);
        let most = if slow { 3_000 } else { 5 };
        let most = Duration::from_millis(most);
        tokio::time::sleep(world.dice.span(Duration::from_millis(1), most)).await;
        let Some(batch) = world.journal.decide(under_way.number) else {
            return std::future::pending().await;
        };
        if world.dice.chance(weather.commit_ambiguous) {
            if world.dice.chance(50) {
                let rows = world.journal.rows();
                world.settle_write(&rows, batch, "the answer is lost").await;
            } else {
                world.settle_later(batch, "the connection is lost");
            }
            let reason = "the connection was lost".to_owned();
            return Err(CommitError::Ambiguous { reason });
        }
        let written = world.write(&world.journal.rows(), batch).await;
        self.way_back(weather.commit_slow).await;
        written
    }

    /// An answer is old when it is heard: meanwhile others see what it tells, and
    /// change it. It may take longer with a chance of `slow`.
    async fn way_back(&self, slow: u64) {
        let slow = self.world.dice.chance(slow);
        let most = Duration::from_millis(if slow { 1_500 } else { 5 });
        tokio::time::sleep(self.world.dice.span(Duration::ZERO, most)).await;
    }

    /// Reads rows.
    async fn read<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let weather = self.world.weather();
        let answer = async {
            if self.world.dice.chance(weather.read_fails) {
                return Err(away(what));
            }
            let answer = answer.await;
            self.way_back(weather.commit_slow).await;
            answer
        };
        self.ask(what, answer).await
    }

    /// Anything but a commit.
    async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let entered = self.life.enter(what).await;
        let answer = self.life.effect(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if entered.fails || self.world.journal.is_away() {
                return Err(away(what));
            }
            answer.await
        });
        let answer = answer.await;
        let heard = if answer.is_ok() { "done" } else { "it is away" };
        self.life.leave(entered, heard).await;
        answer
    }

    fn rows(&self) -> Arc<MemoryJournal> {
        self.world.journal.rows()
    }
}

#[async_trait]
impl Journal for SimJournal {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        self.ask("raise the term", self.rows().raise_term(pool, now))
            .await
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        // The journal's clock, not a time that was read before a stop.
        let _ = now;
        let take = async {
            let now = self.world.clock.now();
            self.rows().take(pool, holder, lease, now).await
        };
        let taken = self.ask("take the pool", take).await;
        if let Ok(Taken::Ours(term)) = &taken {
            let runner = self.life.name();
            self.world
                .trace
                .say(format_args!("{runner} has {pool} under term {term}"));
        }
        taken
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let _ = now;
        let renew = async {
            let now = self.world.clock.now();
            self.rows().renew(pool, term, lease, now).await
        };
        self.ask("renew the lease", renew).await
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.ask("give the pool up", self.rows().give_up(pool, term, now))
            .await
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        self.ask("cordon the pool", self.rows().cordon(pool, term, cordon))
            .await
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        self.ask("read the pools", self.rows().pools(now)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let what = format!("commit {}", shown(&batch));
        let entered = self.life.enter(&what).await;
        self.world.check_submitted(&self.life, &batch);
        self.world.breaks_at_claim(&batch);
        let written = self.life.effect(self.write(batch, entered.fails)).await;
        let heard = match &written {
            Ok(()) => "durable".to_owned(),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        written
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        self.read("read the pool", self.rows().pool(pool)).await
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        self.read("read a machine", self.rows().machine(id)).await
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        self.read("read a stage", self.rows().stage(id)).await
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        self.read("read the ledger", self.rows().ledger(after, limit))
            .await
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.read("read a history", self.rows().history(key, limit))
            .await
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        self.read("read an order", self.rows().order(id)).await
    }

    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        self.ask("compact", self.rows().compact(keep, now)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.read("read events", self.rows().events(after, limit))
            .await
    }
}
