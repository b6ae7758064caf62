//! The follower of a step: one task a step, from its start, or from where it is
//! found after a restart, until its end is written down.
//!
//! ```text
//! sent (durable) ─► run, or attach by id ─► log to its sink ─► sync ─► ended (durable) ─► told
//!                     ▲         │ lost sight of it: again, for as long as the stage has its machine
//!                     └─────────┘
//! the stage ends ─► cancelled, collected ─► told       its machine can't be asked any more ─► lost
//! ```
//!
//! Whether a machine is lost is the pool's to say, which knows its provider: an
//! executor that says so is asked again when the machine answers, until the
//! stage has ended. The follower's end never ends the step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::RunnerError;
use super::measures::word;
use super::reign::{PAUSE, Reign};
use super::stages::{Phase, StageEntry, StepEntry, Told};
use crate::TRACED;
use crate::clock::Timestamp;
use crate::executor::{ExecutorError, LogSink};
use crate::pool::{Lease, NoteError, Pool as _};
use crate::stage::StageEvent;
use crate::step::{StepOutcome, StepStatus};

/// A machine that has not answered for so long keeps a step from being begun.
const BEGIN: Duration = Duration::from_secs(30);
/// Failures of an agent in a row after which those who wait are told.
const FAILURES: u32 = 3;
/// An agent that failed after this long did well before.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// A log's sink that is told of a gap may take this long.
const GAP_PATIENCE: Duration = Duration::from_secs(10);

impl Reign {
    /// Follows a step by a task of its own. Its content, where there is one,
    /// starts it; else it is attached to.
    pub(super) fn follow(self: &Arc<Self>, stage: &Arc<StageEntry>, step: Arc<StepEntry>) {
        // Of a step that was found nobody asks: its trace is that of who asks again.
        let traced = if tracing::Span::current().is_none() {
            tracing::Span::none()
        } else {
            tracing::info_span!(
                target: TRACED, "follow", step = %step.id, outcome = Empty,
                run.started_at_unix_ms = Empty, run.ended_at_unix_ms = Empty
            )
        };
        let follower = Follower::new(self.clone(), stage.clone(), step);
        self.spawn(async move { follower.follow().await }.instrument(traced));
    }
}

/// As traces have numbers.
fn unix_ms(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

struct Follower {
    reign: Arc<Reign>,
    stage: Arc<StageEntry>,
    step: Arc<StepEntry>,
    /// The agent may have the step: it was found, or handed to the executor.
    begun: AtomicBool,
}

impl Follower {
    fn new(reign: Arc<Reign>, stage: Arc<StageEntry>, step: Arc<StepEntry>) -> Self {
        stage.begin_following();
        reign.followed.fetch_add(1, Ordering::Relaxed);
        Self {
            begun: AtomicBool::new(step.was_sent()),
            reign,
            stage,
            step,
        }
    }

    async fn follow(&self) {
        if !self.step.was_sent()
            && let Err(error) = self.send().await
        {
            return self.refuse(error);
        }
        let outcome = tokio::select! {
            biased;
            learned = self.learn() => match learned {
                Ok(outcome) => outcome,
                Err(error) => return self.refuse(error.into()),
            },
            () = self.cancel_at_the_end() => return,
            why = self.stage.lost() => self.lose(&why, self.begun.load(Ordering::Relaxed)).await,
        };
        let outcome = self.write_down(outcome).await;
        self.reign.measures.step_ended(&outcome);
        tracing::Span::current()
            .record("outcome", word(&outcome.status))
            .record("run.started_at_unix_ms", unix_ms(outcome.started_at))
            .record("run.ended_at_unix_ms", unix_ms(outcome.ended_at));
        tracing::info!(
            pool = %self.reign.name, stage = %self.stage.id, step = %self.step.id,
            took_ms = u64::try_from(outcome.ended_at.since(outcome.started_at).as_millis()).ok(),
            outcome = word(&outcome.status), "a step ended"
        );
        self.step.tell(Told::Ended(outcome));
    }

    /// It was not taken, and may be tried again.
    fn refuse(&self, error: RunnerError) {
        self.stage.forget(&self.step);
        self.step.tell(Told::Refused(error));
    }

    /// Writes down that the step is about to be sent, before it is.
    ///
    /// While it is in doubt whether that is written, it is written on, though
    /// who asked is told: a step that the journal has as sent and that nobody
    /// follows would never end. It is begun only if it is asked for again.
    async fn send(&self) -> Result<(), RunnerError> {
        let hash = self.step.hash().unwrap_or_default();
        let step = self.step.id.clone();
        let sent = StageEvent::StepSent { step, hash };
        let mut in_doubt = false;
        while let Err(error) = self.reign.pool.note(&self.stage.id, sent.clone()).await {
            match error {
                NoteError::Journal { in_doubt: true, .. } => in_doubt = true,
                NoteError::Journal { .. } if in_doubt => {}
                // Its stage is over. Its end is written down, whether it was sent or not.
                _ if in_doubt => break,
                error => return Err(error.into()),
            }
            self.step.content.send_replace(None);
            self.step.tell(Told::Trouble(error.into()));
            tokio::time::sleep(PAUSE).await;
        }
        self.step.now_sent();
        self.reign.measures.step_started();
        Ok(())
    }

    /// Runs the step, or attaches to it, until its end is learned and its log
    /// is durable.
    ///
    /// # Errors
    /// The agent will not take the step, and has none of that id.
    async fn learn(&self) -> Result<StepOutcome, ExecutorError> {
        let lease = self.lease().await;
        let mut failures = 0;
        loop {
            self.reached(&lease).await;
            let mut log = self.open_log().await;
            let since = Instant::now();
            let error = match self.run(&lease, &mut *log).await {
                Ok(outcome) => match log.sync(&self.step.id).await {
                    Ok(_) => return Ok(outcome),
                    Err(source) => ExecutorError::Log {
                        step: self.step.id.clone(),
                        source,
                    },
                },
                Err(error) => error,
            };
            drop(log);
            tracing::debug!(stage = %self.stage.id, step = %self.step.id, %error, "lost sight of a step");
            match error {
                // It never got there, so it is sent when somebody asks for it
                // again. Once the stage has ended nothing is sent any more.
                ExecutorError::UnknownStep { .. } => tokio::select! {
                    biased;
                    why = self.stage.ended() => return Ok(self.lose(&why, false).await),
                    () = self.asked_again() => {}
                },
                ExecutorError::Invalid { .. } => return Err(error),
                // The agent has another step of this id; that one is followed.
                ExecutorError::Conflict { .. } => {
                    self.step.content.send_replace(None);
                    self.step.tell(Told::Trouble(error.into()));
                }
                // Its pool says what becomes of the stage.
                ExecutorError::MachineLost { .. } => {}
                ExecutorError::Log { source, .. } => self.reign.trouble(source.to_string()),
                error => {
                    failures = if since.elapsed() < GOOD_RUN {
                        failures + 1
                    } else {
                        1
                    };
                    let refused = matches!(error, ExecutorError::Refused { .. });
                    if refused || failures >= FAILURES {
                        self.step.tell(Told::Trouble(error.into()));
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the machine answers. Who waits for a step that was not begun
    /// is told that it can't be: it is nothing that they could wait for.
    async fn reached(&self, lease: &Lease) {
        let since = Instant::now();
        while timeout(BEGIN, self.reign.connected(lease)).await.is_err() {
            if !self.begun.load(Ordering::Relaxed) {
                let error = ExecutorError::NotBegun {
                    machine: lease.machine_id().clone(),
                    step: self.step.id.clone(),
                    after: since.elapsed(),
                };
                self.step.tell(Told::Trouble(error.into()));
            }
        }
    }

    /// Waits until the step's content is known.
    async fn asked_again(&self) {
        let mut content = self.step.content.subscribe();
        // The sender lives as long as `self`.
        let _ = content.wait_for(Option::is_some).await;
    }

    async fn run(
        &self,
        lease: &Lease,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let executor = &self.reign.parts.executor;
        // Nothing is started once the stage has ended.
        let open = *self.stage.phase.borrow() == Phase::Open;
        let content = self.step.content.borrow().clone();
        match content.filter(|_| open) {
            Some(content) => {
                self.begun.store(true, Ordering::Relaxed);
                executor.run(lease, &content, log).await
            }
            None => executor.attach(lease, &self.step.id, log).await,
        }
    }

    async fn lease(&self) -> Lease {
        match self.stage.lease() {
            Some(lease) => lease,
            // Its machine is gone, so its phase says how it ends.
            None => std::future::pending().await,
        }
    }

    /// The step's log, where it is durable. A store that is broken is tried
    /// again: the log stays on the machine meanwhile.
    async fn open_log(&self) -> Box<dyn LogSink> {
        let logs = &self.reign.parts.logs;
        loop {
            match logs.open(&self.stage.id, &self.step.id).await {
                Ok(log) => return log,
                Err(error) => self.reign.trouble(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Once the stage has ended: cancels the step, whose end is learned then.
    async fn cancel_at_the_end(&self) {
        self.stage.ended().await;
        let lease = self.lease().await;
        loop {
            self.reign.connected(&lease).await;
            let cancelled = self.reign.parts.executor.cancel(&lease, &self.step.id);
            match cancelled.await {
                Ok(()) => return std::future::pending().await,
                Err(error) => {
                    tracing::debug!(stage = %self.stage.id, step = %self.step.id, %error, "not cancelled");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Its end can't be learned any more: the one that stands is written down
    /// already, or it is lost. Where there may have been more of its log, the
    /// log says so.
    async fn lose(&self, why: &str, gap: bool) -> StepOutcome {
        if let Some(stands) = self.written_down().await {
            return stands;
        }
        let reason = format!("the stage ended before the step's end was known: {why}");
        let step = &self.step.id;
        let said = async {
            let mut log = self.open_log().await;
            if gap && let Err(error) = log.gap(step, &reason).await {
                self.reign.trouble(error.to_string());
            }
            if let Err(error) = log.sync(step).await {
                self.reign.trouble(error.to_string());
            }
            log.position(step)
        };
        StepOutcome {
            log_end: timeout(GAP_PATIENCE, said).await.unwrap_or_default(),
            status: StepStatus::Lost { reason },
            started_at: self.begun().await,
            ended_at: self.now(),
        }
    }

    /// Its end as another follower has written it down, before this one found
    /// the step in an answer that was older than that.
    async fn written_down(&self) -> Option<StepOutcome> {
        loop {
            match self.reign.end_of(&self.stage.id, &self.step.id).await {
                Ok(end) => return end,
                Err(error) => self.reign.trouble(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// When the step was sent, as far as that is known.
    async fn begun(&self) -> Timestamp {
        match self.step.since {
            Some(since) => since,
            None => self.reign.first_told(&self.stage.id, &self.step.id).await,
        }
    }

    fn now(&self) -> Timestamp {
        self.reign.parts.clock.now()
    }

    /// Writes the end down, for as long as that takes. Gives the one that
    /// stands: another may have been written down first.
    async fn write_down(&self, outcome: StepOutcome) -> StepOutcome {
        loop {
            match self
                .reign
                .note_end(&self.stage.id, &self.step, &outcome)
                .await
            {
                Ok(stands) => return stands,
                Err(why) => {
                    let (step, stage) = (&self.step.id, &self.stage.id);
                    let text = format!("write down the end of step {step} of stage {stage}: {why}");
                    self.reign.trouble(text);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Follower {
    /// However it ends, nobody waits for it in vain.
    fn drop(&mut self) {
        let told = self.step.told.borrow().clone();
        if matches!(told, Told::Nothing | Told::Trouble(_)) {
            self.stage.forget(&self.step);
            let error = ExecutorError::Failed {
                stage: self.stage.id.clone(),
                attempted: format!("follow step {}", self.step.id),
                reason: "its follower ended".to_owned(),
            };
            self.step.tell(Told::Refused(error.into()));
        }
        self.reign.followed.fetch_sub(1, Ordering::Relaxed);
        self.stage.end_following();
        let over = matches!(*self.stage.phase.borrow(), Phase::Over(_));
        self.reign
            .forget_if(&self.stage, || over && !self.stage.is_followed());
    }
}
