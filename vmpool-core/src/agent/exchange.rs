//! What goes into the rules and what comes out: calls of runners, events of
//! the driver, effects for it to carry out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Content, EndReason, FenceRecord};
use crate::clock::Timestamp;
use crate::id::{StageId, StepId, Term};
use crate::step::{StepOutcome, StepStatus};

/// The present, as the driver reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since the machine's boot: monotonic, going on over restarts of the
    /// agent, standing still while the machine sleeps. All clocks are read here.
    pub up: Duration,
    /// Wall time, for results only: nothing is decided by it.
    pub at: Timestamp,
}

/// What a runner asks. May be refused, may always be repeated (P9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Puts a term to the agent. Also renews.
    Open {
        /// The runner's term.
        term: Term,
    },
    /// The machine is still wanted.
    Renew {
        /// The runner's term.
        term: Term,
    },
    /// Names the stage, and what its machine is to be made ready with. The
    /// call is answered when [`StagePhase`](crate::agent::StagePhase) is settled.
    Prepare {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
        /// It ends this long from now at the latest. The first call's counts.
        lasts: Duration,
        /// The setup, by field.
        content: Content,
    },
    /// Starts a step; one that is there already is only followed.
    Start {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
        /// The step.
        step: StepId,
        /// The step, by field.
        content: Content,
    },
    /// The runner has the step's log durably up to here.
    Acknowledge {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
        /// The step.
        step: StepId,
        /// Bytes from the log's start.
        offset: u64,
    },
    /// Ends a step.
    Cancel {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
        /// The step.
        step: StepId,
    },
    /// Keeps the machine for a person after the stage's end: so much later it
    /// is cleaned up, if nobody asks for that before, and ends itself.
    Hold {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
        /// How long after the stage's end; zero: not at all.
        lasts: Duration,
    },
    /// Ends the stage. The call is answered when its phase is settled.
    Cleanup {
        /// The runner's term.
        term: Term,
        /// The stage.
        stage: StageId,
    },
}

/// What the driver has to tell. Never refused: one that comes too late, or
/// twice, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent has its certificate, durably.
    Enrolled,
    /// [`Effect::SyncFence`] is done: a record of this revision is durable.
    FenceSynced {
        /// The record's revision.
        revision: u64,
    },
    /// [`Effect::Prepare`] is done.
    Prepared,
    /// [`Effect::Prepare`] failed; a further call tries again.
    PrepareFailed {
        /// Why, for a person.
        reason: String,
    },
    /// [`Effect::Spawn`] is done: the step's process runs.
    StepStarted {
        /// The step.
        step: StepId,
    },
    /// [`Effect::Spawn`] failed: no process of the step runs, or ever will.
    StepNotStarted {
        /// The step.
        step: StepId,
        /// Why, for a person.
        reason: String,
    },
    /// A step's log has grown. May be told as seldom as one likes, but before
    /// an acknowledgement or a report that counts on it.
    Output {
        /// The step.
        step: StepId,
        /// Bytes of its log so far.
        log_end: u64,
    },
    /// A step has ended; nothing of it is left, and its log is whole.
    StepEnded {
        /// The step.
        step: StepId,
        /// How, as its holder tells it.
        outcome: StepOutcome,
    },
    /// [`Effect::CleanUp`] is done.
    CleanedUp,
    /// [`Effect::CleanUp`] failed; a further call tries again.
    CleanUpFailed {
        /// What is left, for a person.
        reason: String,
    },
    /// The pipe from the parent has closed.
    ParentClosed,
    /// Time has passed: told at [`Rules::next_wake`](crate::agent::Rules::next_wake).
    Tick,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the fence with fsync, in place of the last one; then tell
    /// [`Event::FenceSynced`]. The call it comes from is answered after that,
    /// and fails if the write does: a repeat asks for the write again.
    SyncFence(FenceRecord),
    /// Write the stage's progress (no fsync), in place of the last one.
    RecordStage(StageRecord),
    /// Begin to make the machine ready for its stage. Idempotent, because a
    /// failed or interrupted one is asked for again.
    Prepare {
        /// The stage.
        stage: StageId,
    },
    /// Write the step's record (no fsync): what a restarted agent knows it by.
    /// If that fails, do not spawn it, and tell [`Event::StepNotStarted`].
    RecordStep(StepRecord),
    /// Begin the step. Asked for once a step, and only after its record.
    Spawn {
        /// The step.
        step: StepId,
    },
    /// Begin to end a step that was started, with all its processes. Its end is
    /// told as that of any step.
    Kill {
        /// The step.
        step: StepId,
        /// Why: the holder's status says so.
        why: KillWhy,
    },
    /// Write the step's result (no fsync). It may be answered after that.
    RecordResult {
        /// The step.
        step: StepId,
        /// The result that counts, whatever its holder wrote.
        outcome: StepOutcome,
    },
    /// The step's log is not needed below this offset any more.
    ForgetLog {
        /// The step.
        step: StepId,
        /// Bytes from the log's start.
        up_to: u64,
    },
    /// Begin to remove what the stage has left: files, processes that got away.
    /// Results and logs stay, for a runner that comes back.
    CleanUp {
        /// The stage.
        stage: StageId,
    },
    /// End the machine, now, with all that runs on it. Asked for again for as
    /// long as the agent lives.
    EndMachine(EndReason),
}

/// Why a step is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillWhy {
    /// A call asked for it, for the step or the whole stage.
    Cancelled,
    /// The stage's deadline came.
    TimedOut,
}

impl KillWhy {
    /// The status of a step that ended this way. What the process made of our
    /// signals does not matter; that it never ran or was lost does.
    pub(super) fn settle(self, told: StepStatus) -> StepStatus {
        match (self, told) {
            (
                _,
                told @ (StepStatus::NotStarted { .. }
                | StepStatus::Lost { .. }
                | StepStatus::Cancelled
                | StepStatus::TimedOut),
            ) => told,
            (Self::Cancelled, _) => StepStatus::Cancelled,
            (Self::TimedOut, _) => StepStatus::TimedOut,
        }
    }
}

/// What a restarted agent must know of a step. Written before the step starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step.
    pub id: StepId,
    /// What was asked for, by field.
    pub content: Content,
    /// When its start was asked for.
    pub started_at: Timestamp,
}

/// How far the stage is. Lost with the machine's power, as all steps are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The stage.
    pub id: StageId,
    /// It was prepared.
    pub prepared: bool,
    /// When it ended, since boot.
    pub ended_at: Option<Duration>,
    /// How long the machine is kept after that.
    #[serde(default)]
    pub held: Duration,
    /// Nothing of it is left.
    pub clean: bool,
}
