//! One life of a runner, from its start to its crash.
//!
//! Whatever a runner does to the world, to its journal, provider, agents and
//! logs, goes through its life, which counts these calls: so it can die at any
//! of them, before the effect or between effect and answer, be stopped for a
//! while, or be told of one failure. A dead runner's calls hang for ever: no
//! line of its code has an effect any more.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::trace::Trace;

/// At which side of a call's effect a runner dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The call has no effect.
    Before,
    /// It has its effect, and its answer comes to nobody.
    After,
}

/// What shall happen at one of a runner's calls, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The runner dies.
    Crash(Side),
    /// The runner is stopped before the effect, until somebody lets it go on.
    Stop,
    /// The call fails.
    Fail,
    /// Its effect is made twice, as by a request that was sent again on its
    /// way. A journal's is not: who loses its answer reads back.
    Twice,
}

#[derive(Debug)]
pub(super) struct Life {
    name: String,
    trace: Arc<Trace>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    mishap: Option<(u64, Mishap)>,
    stopped: bool,
    /// It was stopped at some time.
    was_stopped: bool,
    dead: bool,
}

/// A call that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    nth: u64,
    /// It shall fail.
    pub(super) fails: bool,
    /// Its effect shall be made twice.
    pub(super) twice: bool,
}

impl Life {
    pub(super) fn new(name: String, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self {
            name,
            trace,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    pub(super) fn was_stopped(&self) -> bool {
        self.state.lock().was_stopped
    }

    /// At the `nth` call of this life, if it comes to that.
    pub(super) fn plan(&self, nth: u64, mishap: Mishap) {
        self.state.lock().mishap = Some((nth, mishap));
    }

    /// Nothing is going to happen to it any more, and it goes on.
    pub(super) fn calm(&self) {
        self.state.lock().mishap = None;
        self.stop(false);
    }

    pub(super) fn die(&self) {
        if !std::mem::replace(&mut self.state.lock().dead, true) {
            self.trace.say(format_args!("{} dies", self.name));
            self.changed.notify_waiters();
        }
    }

    /// Its calls stall while this is true, and its time goes on.
    pub(super) fn stop(&self, stopped: bool) {
        {
            let mut state = self.state.lock();
            state.stopped = stopped;
            state.was_stopped |= stopped;
        }
        let what = if stopped { "is stopped" } else { "goes on" };
        self.trace.say(format_args!("{} {what}", self.name));
        self.changed.notify_waiters();
    }

    /// Ends when the runner is dead.
    pub(super) async fn died(&self) {
        self.until(|state| state.dead).await;
    }

    /// Stops it when it comes to what is planned, or after `patience`, for `span`.
    pub(super) async fn stop_for(&self, patience: Duration, span: Duration) {
        let stopped = self.until(|state| state.stopped);
        if tokio::time::timeout(patience, stopped).await.is_err() {
            self.stop(true);
        }
        // Also where it was stopped by another: nobody would let it go on.
        self.unplan(Mishap::Stop);
        tokio::time::sleep(span).await;
        self.stop(false);
    }

    fn unplan(&self, mishap: Mishap) {
        let planned = &mut self.state.lock().mishap;
        *planned = planned.filter(|(_, planned)| *planned != mishap);
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Waits while the runner is stopped; for ever once it is dead.
    async fn running(&self) {
        self.until(|state| !state.stopped && !state.dead).await;
    }

    /// A call of the runner begins.
    pub(super) async fn enter(&self, call: &str) -> Entered {
        self.running().await;
        let (nth, mishap) = {
            let mut state = self.state.lock();
            state.calls += 1;
            let nth = state.calls;
            let mishap = state.mishap.filter(|(at, _)| *at == nth);
            (nth, mishap.map(|(_, mishap)| mishap))
        };
        self.trace
            .say(format_args!("{} calls {nth}: {call}", self.name));
        if mishap == Some(Mishap::Crash(Side::Before)) {
            self.die();
        }
        if mishap == Some(Mishap::Stop) {
            self.stop(true);
        }
        self.running().await;
        Entered {
            nth,
            fails: mishap == Some(Mishap::Fail),
            twice: mishap == Some(Mishap::Twice),
        }
    }

    /// The call's effect: goes on only while the runner does.
    pub(super) async fn effect<T>(&self, effect: impl Future<Output = T>) -> T {
        let mut effect = pin!(effect);
        loop {
            self.running().await;
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            tokio::select! {
                biased;
                () = changed => {}
                answer = effect.as_mut() => return answer,
            }
        }
    }

    /// The call's effect is done; its answer comes now, if it comes.
    pub(super) async fn leave(&self, entered: Entered, answer: &str) {
        let crash = Some((entered.nth, Mishap::Crash(Side::After)));
        if self.state.lock().mishap == crash {
            self.die();
        }
        self.running().await;
        self.trace.say(format_args!(
            "{} hears {}: {answer}",
            self.name, entered.nth
        ));
    }
}
