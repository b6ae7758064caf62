//! [`Account`] and [`Pass`]: where calls wait for their turn.
//!
//! Nobody runs in the background: who waits sleeps until its kind of call opens,
//! and then gives out whatever turns there are, in their order. Passes are sent
//! outside the lock, because one that nobody receives comes back by its drop.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lane::{Lane, Taken};
use super::line::{Line, Ticket};
use super::listing::Listings;
use super::metrics::Metrics;
use super::places::Shortages;
use super::{AccountConfig, Answer, CallKind, Priority, Verdict};

/// The budget of calls to one account; clones share it.
#[derive(Clone)]
pub struct Account {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: AccountConfig,
    kinds: Mutex<[OfKind; CallKind::ALL.len()]>,
    pub(super) places: Mutex<Shortages>,
    pub(super) listings: Mutex<Listings>,
    pub(super) metrics: Metrics,
}

/// One kind of call: its limits, and who waits for them.
struct OfKind {
    lane: Lane,
    line: Line<Waiter>,
}

struct Waiter {
    since: Instant,
    pass: oneshot::Sender<Pass>,
}

/// Until when no call of a kind may be made, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOff {
    /// Not before this.
    pub until: Instant,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

impl fmt::Display for HeldOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.until.saturating_duration_since(Instant::now());
        write!(f, "for another {left:.1?}: {}", self.reason)
    }
}

/// A call that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The kind of call.
    pub kind: CallKind,
    /// How urgent it is.
    pub priority: Priority,
    /// Since when it waits.
    pub since: Instant,
    /// What it waits for; it may be behind others after that.
    pub held_off: Option<HeldOff>,
}

impl Account {
    /// An account that takes what `config` says.
    pub fn new(config: AccountConfig) -> Self {
        let of_kind = |kind| {
            let rate = match kind {
                CallKind::Launch => config.launch,
                CallKind::List => config.list,
                CallKind::Terminate => config.terminate,
                CallKind::Other => config.other,
            };
            OfKind {
                lane: Lane::new(kind, rate, config.retries),
                line: Line::new(),
            }
        };
        Self {
            inner: Arc::new(Inner {
                kinds: Mutex::new(CallKind::ALL.map(of_kind)),
                places: Mutex::default(),
                listings: Mutex::default(),
                metrics: Metrics::new(&config.name),
                config,
            }),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &AccountConfig {
        &self.inner.config
    }

    /// Waits until a call of `kind` may be made.
    ///
    /// It waits as long as the account is held off: bound it where that matters.
    ///
    /// # Cancel safety
    /// A dropped wait frees its place, and costs no token.
    pub async fn pass(&self, kind: CallKind, priority: Priority) -> Pass {
        let since = Instant::now();
        let (pass, turn) = oneshot::channel();
        let ticket = self.inner.kinds.lock()[kind as usize]
            .line
            .join(priority, Waiter { since, pass });
        let mut place = Place {
            inner: &self.inner,
            kind,
            ticket,
            turn,
        };
        loop {
            self.inner.give_turns(kind);
            let opens_at = self.inner.opens_at(kind);
            tokio::select! {
                biased;
                Ok(pass) = &mut place.turn => {
                    self.inner.metrics.waited(kind, since.elapsed());
                    return pass;
                }
                () = tokio::time::sleep_until(opens_at) => {}
            }
        }
    }

    /// Waits for a pass, and makes the call.
    ///
    /// # Cancel safety
    /// As [`Account::pass`] and [`Pass::make`].
    pub async fn call<T: Answer>(
        &self,
        kind: CallKind,
        priority: Priority,
        call: impl Future<Output = T>,
    ) -> T {
        self.pass(kind, priority).await.make(call).await
    }

    /// Why calls of `kind` can't be made now, if they can't.
    pub fn held_off(&self, kind: CallKind) -> Option<HeldOff> {
        let now = Instant::now();
        self.inner.kinds.lock()[kind as usize].held_off(now)
    }

    /// The calls that wait, by kind, the most urgent first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let now = Instant::now();
        let kinds = self.inner.kinds.lock();
        let all = CallKind::ALL.into_iter().zip(kinds.iter());
        all.flat_map(|(kind, of_kind)| {
            let held_off = of_kind.held_off(now);
            let waiting = of_kind.line.waiting();
            waiting.map(move |(priority, waiter)| Waiting {
                kind,
                priority,
                since: waiter.since,
                held_off: held_off.clone(),
            })
        })
        .collect()
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new(AccountConfig::default())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("config", &self.inner.config)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl OfKind {
    fn held_off(&self, now: Instant) -> Option<HeldOff> {
        let until = self.lane.opens_at(now);
        (until > now).then(|| HeldOff {
            until,
            reason: self.lane.why_closed(now),
        })
    }
}

impl Inner {
    fn opens_at(&self, kind: CallKind) -> Instant {
        let now = Instant::now();
        self.kinds.lock()[kind as usize].lane.opens_at(now)
    }

    /// Gives all turns that there are to those whose they are.
    fn give_turns(self: &Arc<Self>, kind: CallKind) {
        while let Some((waiter, taken)) = self.next_turn(kind) {
            let pass = Pass {
                inner: self.clone(),
                kind,
                state: PassState::Unused(taken),
            };
            // Where nobody receives it, it gives itself back.
            let _ = waiter.pass.send(pass);
        }
    }

    fn next_turn(&self, kind: CallKind) -> Option<(Waiter, Taken)> {
        let now = Instant::now();
        let of_kind = &mut self.kinds.lock()[kind as usize];
        if of_kind.lane.opens_at(now) > now {
            return None;
        }
        let waiter = of_kind.line.next()?;
        Some((waiter, of_kind.lane.take(now)))
    }

    fn give_back(self: &Arc<Self>, kind: CallKind, taken: Taken) {
        self.kinds.lock()[kind as usize].lane.give_back(taken);
        self.give_turns(kind);
    }

    fn ended(self: &Arc<Self>, kind: CallKind, begun_at: Instant, verdict: Verdict) {
        let pace = {
            let lane = &mut self.kinds.lock()[kind as usize].lane;
            lane.ended(begun_at, verdict, Instant::now());
            lane.pace()
        };
        self.metrics.ended(kind, verdict, pace);
        self.give_turns(kind);
    }
}

/// A place in the line; dropped, it is free.
struct Place<'a> {
    inner: &'a Inner,
    kind: CallKind,
    ticket: Ticket,
    turn: oneshot::Receiver<Pass>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let line = &mut self.inner.kinds.lock()[self.kind as usize].line;
        line.leave(self.ticket);
    }
}

/// The right to make one call. Dropped unused, it goes to the next who waits.
#[must_use = "a pass that is not used holds others up until it is dropped"]
pub struct Pass {
    inner: Arc<Inner>,
    kind: CallKind,
    state: PassState,
}

enum PassState {
    Unused(Taken),
    Begun(Instant),
    Ended,
}

impl Pass {
    /// Makes the call, and takes in what its answer says of the account.
    ///
    /// # Cancel safety
    /// As the call itself. A dropped one counts as a fault, because that is how
    /// calls end that take too long.
    pub async fn make<T: Answer>(mut self, call: impl Future<Output = T>) -> T {
        let begun_at = Instant::now();
        self.state = PassState::Begun(begun_at);
        let answer = call.await;
        self.state = PassState::Ended;
        self.inner.ended(self.kind, begun_at, answer.verdict());
        answer
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        match self.state {
            PassState::Unused(taken) => self.inner.give_back(self.kind, taken),
            PassState::Begun(at) => self.inner.ended(self.kind, at, Verdict::Abandoned),
            PassState::Ended => {}
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&self.kind).finish()
    }
}
