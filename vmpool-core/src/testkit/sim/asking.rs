//! How a client asks: the runner that it knows, then another, again and again,
//! until it is answered for good.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{ADOPTION, Client};
use super::fleet::Up;
use crate::executor::ExecutorError;
use crate::id::PoolName;
use crate::pool::{AcquireError, AttachError, Lease, NoteError};
use crate::runner::RunnerError;
use crate::stage::StageError;
use crate::step::StepOutcome;

/// What came back of a call.
enum Answer<T> {
    Given(Result<T, RunnerError>),
    /// The runner is down, died, or did not answer in time.
    None,
}

/// Why a client stops asking.
pub(super) enum Stop {
    Told(RunnerError),
    Vanish,
}

/// The state of a client's luck.
pub(super) struct Asking {
    /// The runner that it asks.
    pub(super) slot: Cell<usize>,
    pub(super) calls: Cell<u64>,
}

impl Client {
    /// Calls until it is answered for good. A call that is `bounded` is
    /// answered within `patience` by any runner that is up (P3).
    pub(super) async fn insist<T>(
        &self,
        asking: &Asking,
        what: &str,
        patience: Duration,
        bounded: bool,
        call: impl AsyncFn(Up) -> Result<T, RunnerError>,
    ) -> Result<T, Stop>
    where
        T: PartialEqAnswer,
    {
        loop {
            let calls = asking.calls.get() + 1;
            asking.calls.set(calls);
            if self
                .build
                .manners
                .vanishes_after
                .is_some_and(|after| calls > after)
            {
                return Err(self.vanish(asking, what, &call).await);
            }
            let answer = if self.build.manners.twice {
                let one = self.ask(asking, what, patience, bounded, &call);
                let other = self.ask(asking, what, patience, bounded, &call);
                let (one, other) = tokio::join!(one, other);
                self.same(what, &one, &other);
                match one {
                    Answer::Given(Ok(_)) => one,
                    Answer::Given(Err(_)) | Answer::None => other,
                }
            } else {
                self.ask(asking, what, patience, bounded, &call).await
            };
            match answer {
                Answer::Given(Ok(answer)) => return Ok(answer),
                Answer::Given(Err(error)) if self.is_final(&error) => {
                    return Err(Stop::Told(error));
                }
                Answer::Given(Err(RunnerError::NotOurs { .. })) | Answer::None => {
                    asking.slot.set((asking.slot.get() + 1) % self.fleet.size());
                }
                Answer::Given(Err(_)) => {}
            }
            let pause = self
                .world
                .dice
                .span(Duration::from_millis(100), Duration::from_secs(3));
            tokio::time::sleep(pause).await;
        }
    }

    /// Asking again can't help.
    fn is_final(&self, error: &RunnerError) -> bool {
        match error {
            // Until the agents have told it, nobody knows of its stage.
            RunnerError::UnknownStage { .. } | RunnerError::Attach(AttachError::Unknown { .. }) => {
                let lost_for = self.world.journal.lost_for();
                lost_for.is_none_or(|span| span > ADOPTION)
            }
            RunnerError::Acquire(AcquireError::Stopped { .. }) => {
                let pool = PoolName::new(self.build.pool);
                self.world.cloud.is_broken(&pool)
            }
            error => is_final(error),
        }
    }

    /// Makes its last call and does not wait for the answer.
    async fn vanish<T>(
        &self,
        asking: &Asking,
        what: &str,
        call: &impl AsyncFn(Up) -> Result<T, RunnerError>,
    ) -> Stop {
        let dice = &self.world.dice;
        let most = Duration::from_millis(if dice.chance(50) { 50 } else { 10_000 });
        let briefly = dice.span(Duration::from_millis(1), most);
        let last = self.ask(asking, what, briefly, false, call);
        drop(last.await);
        Stop::Vanish
    }

    /// Two answers to one question are the same (P9).
    fn same<T: PartialEqAnswer>(&self, what: &str, one: &Answer<T>, other: &Answer<T>) {
        if let (Answer::Given(Ok(one)), Answer::Given(Ok(other))) = (one, other)
            && !one.same(other)
        {
            self.wrong(
                "P9",
                &format!("{what}, made twice at once, has two answers"),
            );
        }
    }

    async fn ask<T>(
        &self,
        asking: &Asking,
        what: &str,
        patience: Duration,
        bounded: bool,
        call: &impl AsyncFn(Up) -> Result<T, RunnerError>,
    ) -> Answer<T> {
        let stage = &self.build.stage;
        let Some(up) = self.fleet.up(asking.slot.get()) else {
            return Answer::None;
        };
        let life = up.life.clone();
        let name = life.name();
        let trace = &self.world.trace;
        trace.say(format_args!("{stage} asks {name}: {what}"));
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            () = life.died() => None,
            answer = call(up) => Some(answer),
            () = tokio::time::sleep(patience) => None,
        };
        let took = begun.elapsed();
        let Some(answer) = answer else {
            trace.say(format_args!("{stage} is not answered by {name}"));
            if bounded && took >= patience && !life.is_dead() && !life.was_stopped() {
                self.wrong("P3", &format!("{what} is not answered within {patience:?}"));
            }
            return Answer::None;
        };
        let heard = match &answer {
            Ok(_) => "done".to_owned(),
            Err(error) => super::fleet::chain(error),
        };
        trace.say(format_args!("{stage} is answered by {name}: {heard}"));
        Answer::Given(answer)
    }
}

/// Asking again can't help, whatever happened.
fn is_final(error: &RunnerError) -> bool {
    matches!(
        error,
        RunnerError::UnknownPool { .. }
            | RunnerError::Unprepared { .. }
            | RunnerError::Acquire(
                AcquireError::Deadline { .. }
                    | AcquireError::StageOver { .. }
                    | AcquireError::Conflict { .. }
            )
            | RunnerError::Attach(AttachError::Over { .. })
            | RunnerError::Stage(
                StageError::Note(NoteError::Unknown { .. } | NoteError::Refused { .. })
                    | StageError::Executor(
                        ExecutorError::MachineLost { .. }
                            | ExecutorError::Refused { .. }
                            | ExecutorError::Conflict { .. }
                    )
            )
    )
}

/// Answers that must be the same for the same question.
pub(super) trait PartialEqAnswer {
    fn same(&self, other: &Self) -> bool;
}

impl PartialEqAnswer for Lease {
    fn same(&self, other: &Self) -> bool {
        self.machine_id() == other.machine_id()
    }
}

impl PartialEqAnswer for StepOutcome {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl PartialEqAnswer for () {
    fn same(&self, (): &Self) -> bool {
        true
    }
}
