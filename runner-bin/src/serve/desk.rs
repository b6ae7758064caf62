//! Where requests are answered: by the runner of this process, by the one that
//! owns their pool, or by the process that replaces this one.
//!
//! ```text
//! Empty ─► Runner ─► Empty ─► Successor     an upgrade; back to Runner if it fails
//!            └─────────────► Gone           the end: callers come again to the next process
//! ```
//! Every request is idempotent (P9), so one that finds its pool elsewhere, or
//! loses the runner that has it, is made again. Each ends: it finds nobody to
//! answer it for no longer than [`OWNERLESS`] (P3).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use vmpool_agent::Authority;
use vmpool_core::runner::Runner;
use vmpool_core::{PoolName, StageId};
use vmpool_pipeline::PoolFile;

use super::access::Access;
use super::call::{Call, Elsewhere, Request};
use super::grpc::Ask;
use super::log_service::LogService;
use super::peer::{Peers, Successor};
use super::traces;
use super::wire::{Answer, MeantSetup};

/// A request that nobody can answer waits so long at most: as long as one
/// waits for a machine by default.
const OWNERLESS: Duration = Duration::from_mins(10);

/// Who fails later than this had the request: nobody takes so long to connect,
/// or to say no.
const HAD_IT: Duration = Duration::from_secs(15);

/// Between two looks for an owner, at most; a change that this runner sees comes first.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Runners that a request passes at most before one must answer it.
const MOST_HOPS: u32 = 3;

/// Who answers.
#[derive(Debug, Clone)]
pub(super) enum Seat {
    /// Nobody for the moment.
    Empty,
    /// The runner of this process.
    Runner(Runner),
    /// The process that replaces this one.
    Successor(Successor),
    /// Nobody any more.
    Gone,
}

/// A handle: clones are the same desk.
#[derive(Debug, Clone)]
pub(super) struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seat: watch::Sender<Seat>,
    stopping: CancellationToken,
    in_flight: TaskTracker,
    peers: Peers,
    access: Access,
    /// The pools as the file in force has them.
    pools: watch::Sender<Arc<PoolFile>>,
    ways: Ways,
}

/// How setups and steps are answered here, beside what they ask for.
#[derive(Debug)]
pub(super) struct Ways {
    /// The pools that a setup falls back on which names none.
    pub(super) fallbacks: Vec<PoolName>,
    /// Callers are given the keys of machines with the incumbent's agent, which
    /// this makes.
    pub(super) compat_keys: Option<Arc<Authority>>,
    pub(super) log_service: LogService,
}

/// A request that came from another runner can't be answered here: that one
/// looks for the owner itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotHere(String);

impl Desk {
    pub(super) fn new(peers: Peers, pools: Arc<PoolFile>, access: Access, ways: Ways) -> Self {
        Self(Arc::new(Inner {
            seat: watch::Sender::new(Seat::Empty),
            stopping: CancellationToken::new(),
            in_flight: TaskTracker::new(),
            peers,
            access,
            pools: watch::Sender::new(pools),
            ways,
        }))
    }

    /// Who gets in.
    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }

    /// The pools of the file that is in force.
    pub(super) fn pools(&self) -> Arc<PoolFile> {
        self.0.pools.borrow().clone()
    }

    /// Another file is in force.
    pub(super) fn offer(&self, pools: Arc<PoolFile>) {
        self.0.pools.send_replace(pools);
    }

    /// Says who answers from now on.
    pub(super) fn seat(&self, seat: Seat) {
        self.0.seat.send_replace(seat);
    }

    /// The runner of this process, if there is one.
    pub(super) fn runner(&self) -> Option<Runner> {
        match &*self.0.seat.borrow() {
            Seat::Runner(runner) => Some(runner.clone()),
            _ => None,
        }
    }

    /// Takes no new setups from now on.
    pub(super) fn stop(&self) {
        self.0.stopping.cancel();
    }

    /// It takes no new setups.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Waits until it takes no new setups.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn stopping(&self) {
        self.0.stopping.cancelled().await;
    }

    /// This process answers nothing by itself any more: who is connected
    /// should connect anew.
    pub(super) fn is_left(&self) -> bool {
        matches!(&*self.0.seat.borrow(), Seat::Successor(_) | Seat::Gone)
    }

    /// Waits until no request is in flight.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn idle(&self) {
        self.0.in_flight.close();
        self.0.in_flight.wait().await;
        self.0.in_flight.reopen();
    }

    /// Answers a caller's request, wherever its pool is.
    ///
    /// # Cancel safety
    /// What was begun goes on, and the same request finds it.
    pub(super) async fn answer(&self, request: Request) -> Answer {
        let _counted = self.0.in_flight.token();
        let call = match Call::read(&request) {
            Ok(call) if call.begins_a_stage() && self.is_stopping() => {
                return Answer::later("the runner is stopping: ask the next one");
            }
            Ok(call) => call,
            Err(answer) => return answer,
        };
        let answer = self.answer_call(&request, &call);
        let answer = answer.instrument(traced(&call)).await;
        let over = match &call {
            Call::Destroy { stage } => Some(stage),
            Call::Builds(ask) => match &**ask {
                Ask::Release { stage } => Some(stage),
                _ => None,
            },
            _ => None,
        };
        if let (Some(stage), Some(runner)) = (over, self.runner()) {
            traces::stage_ended(&runner, stage).await;
        }
        answer
    }

    async fn answer_call(&self, request: &Request, call: &Call) -> Answer {
        match call {
            Call::Setup(setup) => self.set_up(request, setup, call).await,
            Call::Step(meant) => {
                let (stage, step) = (&meant.stage, &meant.step.id);
                let logs = &self.0.ways.log_service;
                let telling = logs.follows(self.runner(), stage, step, &meant.log_key);
                let answer = self.answer_one(request, call).await;
                if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                    telling.over(());
                }
                answer
            }
            Call::Destroy { stage } => {
                let answer = self.end(request, call, stage).await;
                if answer.status.is_success() {
                    self.0.ways.log_service.ends(stage);
                }
                answer
            }
            Call::Builds(ask) => match &**ask {
                Ask::Release { stage } => self.end(request, call, stage).await,
                _ => self.answer_one(request, call).await,
            },
            _ => self.answer_one(request, call).await,
        }
    }

    /// Ends a stage, also where it waits at another runner.
    async fn end(&self, request: &Request, call: &Call, stage: &StageId) -> Answer {
        let answer = self.answer_one(request, call).await;
        if !answer.status.is_success() {
            return answer;
        }
        match self.withdraw(stage, &request.caller).await {
            Ok(()) => answer,
            Err(failed) => failed,
        }
    }

    async fn set_up(&self, request: &Request, setup: &MeantSetup, call: &Call) -> Answer {
        let ways = &self.0.ways;
        let stage = &setup.request.stage;
        let target = setup.logs.as_ref();
        let telling =
            target.map(|target| ways.log_service.sets_up(stage, &setup.wanted.pool, target));
        let fallbacks = setup.fallbacks.as_ref().unwrap_or(&ways.fallbacks);
        let answer = if fallbacks.is_empty() {
            self.answer_one(request, call).await
        } else {
            self.answer_in_turn(request, setup, fallbacks).await
        };
        if let Some(target) = target.filter(|_| answer.status.is_success()) {
            ways.log_service.keeps(stage, target);
        }
        if let Some(telling) = telling {
            telling.over(answer.clone());
        }
        answer
    }

    /// Answers a request about one pool, wherever that is.
    pub(super) async fn answer_one(&self, request: &Request, call: &Call) -> Answer {
        let mut search = Search::begin();
        let mut seat = self.0.seat.subscribe();
        loop {
            let sitting = seat.borrow_and_update().clone();
            let asked = Instant::now();
            let found = match sitting {
                Seat::Gone => return Answer::later("the runner has stopped: ask again"),
                Seat::Empty => Err("no runner is ready".to_owned()),
                Seat::Successor(successor) => self.relay(&successor, request).await,
                Seat::Runner(runner) => {
                    let (pools, caller) = (self.pools(), &request.caller);
                    let permit = self.0.access.permit(caller, call, &runner, &pools);
                    let _permit = match permit.await {
                        Ok(permit) => permit,
                        Err(answer) => return answer,
                    };
                    match self.perform(call, &runner).await {
                        Ok(answer) => return answer,
                        Err(elsewhere) => self.ask_owner(&elsewhere, request).await,
                    }
                }
            };
            if asked.elapsed() >= HAD_IT {
                // Somebody had it: the search begins anew.
                search = Search::begin();
            }
            match found {
                Ok(answer) => return answer,
                Err(reason) if search.is_over() => return Answer::later(&reason),
                Err(reason) => {
                    tracing::debug!(path = request.path, reason, "nobody answers yet");
                    let wait = search.next_look();
                    // Who sits there has changed, or it is time to look again.
                    let _ = timeout_at(wait, seat.changed()).await;
                }
            }
        }
    }

    /// Answers a request that another runner has passed on, if its pool is
    /// here or is known to be with a third one.
    ///
    /// # Errors
    /// The pool is not here.
    pub(super) async fn answer_peer(&self, request: Request) -> Result<Answer, NotHere> {
        let _counted = self.0.in_flight.token();
        let call = match Call::read(&request) {
            Ok(call) => call,
            Err(answer) => return Ok(answer),
        };
        let is_setup = call.begins_a_stage();
        loop {
            let seat = self.0.seat.borrow().clone();
            match seat {
                Seat::Gone => return Err(NotHere("the runner has stopped".to_owned())),
                Seat::Runner(_) if is_setup && self.is_stopping() => {
                    return Err(NotHere("the runner is stopping".to_owned()));
                }
                Seat::Runner(runner) => {
                    match self.perform(&call, &runner).instrument(traced(&call)).await {
                        Ok(answer) => return Ok(answer),
                        // It was handed over meanwhile, to whoever sits here now.
                        Err(_) if !matches!(&*self.0.seat.borrow(), Seat::Runner(_)) => {}
                        Err(elsewhere) => return self.pass_on(&elsewhere, &request).await,
                    }
                }
                Seat::Empty | Seat::Successor(_) => return Ok(self.answer(request).await),
            }
        }
    }

    async fn perform(&self, call: &Call, runner: &Runner) -> Result<Answer, Elsewhere> {
        let keys = self.0.ways.compat_keys.as_deref();
        call.perform(runner, &self.pools(), keys).await
    }

    async fn pass_on(&self, elsewhere: &Elsewhere, request: &Request) -> Result<Answer, NotHere> {
        let pool = &elsewhere.pool;
        let not_here = |why: String| NotHere(format!("pool {pool} is not here: {why}"));
        match &elsewhere.holder {
            None => Err(not_here("it has no owner at the moment".to_owned())),
            Some(_) if request.hops >= MOST_HOPS => Err(not_here(
                "the request has passed too many runners".to_owned(),
            )),
            Some(holder) => {
                let passed = self.0.peers.forward(holder, request).await;
                passed.map_err(|error| not_here(error.to_string()))
            }
        }
    }

    async fn ask_owner(&self, elsewhere: &Elsewhere, request: &Request) -> Result<Answer, String> {
        let pool = &elsewhere.pool;
        let Some(holder) = &elsewhere.holder else {
            return Err(format!("pool {pool} has no owner at the moment"));
        };
        let asked = self.0.peers.forward(holder, request).await;
        asked.map_err(|failed| {
            let failed = anyhow::Error::new(failed);
            format!("pool {pool} is with runner {}: {failed:#}", holder.runner)
        })
    }

    async fn relay(&self, successor: &Successor, request: &Request) -> Result<Answer, String> {
        let relayed = successor.forward(request).await;
        relayed.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }
}

/// The span of a call that is about a stage.
fn traced(call: &Call) -> Span {
    match call {
        Call::Setup(setup) => traces::of_call("setup", &setup.request.stage),
        Call::Step(meant) => traces::of_call("step", &meant.stage),
        Call::Destroy { stage } => traces::of_call("destroy", stage),
        Call::Builds(ask) => match &**ask {
            Ask::Run { stage, .. } => traces::of_call("step", stage),
            Ask::Acquire { request, .. } => traces::of_call("acquire", &request.stage),
            Ask::Release { stage } => traces::of_call("release", stage),
            _ => Span::none(),
        },
        // They change nothing, and streams ask them again and again.
        _ => Span::none(),
    }
}

/// A request's search for somebody to answer it.
#[derive(Debug)]
struct Search {
    until: Instant,
}

impl Search {
    fn begin() -> Self {
        Self {
            until: Instant::now() + OWNERLESS,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn next_look(&self) -> Instant {
        self.until.min(Instant::now() + LOOK_AGAIN)
    }
}
