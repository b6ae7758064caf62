//! What an agent answers to a call that it will not carry out. A refused call
//! changes nothing (P13).

use crate::agent::EndReason;
use crate::id::{StageId, StepId, Term};

/// The reasons as they are written on the wire (metadata key `vmpool-reason`),
/// for both ends.
pub mod reason {
    /// A higher term rules this machine.
    pub const FENCED: &str = "FENCED";
    /// The call's term was not put to the agent by `Open`.
    pub const NOT_OPENED: &str = "NOT_OPENED";
    /// The agent has no certificate yet.
    pub const NOT_ENROLLED: &str = "NOT_ENROLLED";
    /// The dead-man's switch is ending the machine.
    pub const MACHINE_ENDING: &str = "MACHINE_ENDING";
    /// This machine serves another stage.
    pub const OTHER_STAGE: &str = "OTHER_STAGE";
    /// The stage is over, or ending.
    pub const STAGE_ENDED: &str = "STAGE_ENDED";
    /// The stage is not prepared.
    pub const NOT_PREPARED: &str = "NOT_PREPARED";
    /// This machine serves no stage.
    pub const UNKNOWN_STAGE: &str = "UNKNOWN_STAGE";
    /// The stage has no such step.
    pub const UNKNOWN_STEP: &str = "UNKNOWN_STEP";
    /// The same id was given before with other content.
    pub const CONFLICT: &str = "CONFLICT";
    /// A field's value can't be.
    pub const INVALID: &str = "INVALID";
    /// The stage has as many steps as the agent keeps.
    pub const TOO_MANY_STEPS: &str = "TOO_MANY_STEPS";
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another runner has taken the machine over.
    #[error("term {ruling} rules this machine, the call has term {asked}")]
    Fenced {
        /// The call's term.
        asked: Term,
        /// The agent's.
        ruling: Term,
    },
    /// A term begins with `Open`, which makes it durable.
    #[error("term {asked} was not opened on this machine")]
    NotOpened {
        /// The call's term.
        asked: Term,
    },
    /// Nobody may call before the machine has joined the deployment.
    #[error("this machine is not enrolled")]
    NotEnrolled,
    /// The machine is on its way out.
    #[error("this machine is ending: {why}")]
    MachineEnding {
        /// Which clock ran out.
        why: EndReason,
    },
    /// No stage was ever prepared here.
    #[error("this machine serves no stage, the call is for stage {asked}")]
    UnknownStage {
        /// The call's stage.
        asked: StageId,
    },
    /// A machine serves one stage, ever (P2).
    #[error("this machine serves stage {ours}, the call is for stage {asked}")]
    OtherStage {
        /// The call's stage.
        asked: StageId,
        /// The machine's.
        ours: StageId,
    },
    /// It was cleaned up, or its deadline came.
    #[error("stage {stage} has ended")]
    StageEnded {
        /// The stage.
        stage: StageId,
    },
    /// Steps run in a prepared stage only.
    #[error("stage {stage} is not prepared")]
    NotPrepared {
        /// The stage.
        stage: StageId,
    },
    /// The stage has no such step.
    #[error("stage {stage} has no step {step}")]
    UnknownStep {
        /// The stage.
        stage: StageId,
        /// The call's step.
        step: StepId,
    },
    /// The id is taken by something else.
    #[error("{what} was given before with another {field}")]
    Conflict {
        /// `stage 17` or `step build`.
        what: String,
        /// The first field that differs.
        field: String,
    },
    /// An offset that the log has not reached.
    #[error("offset {offset} is beyond the log of step {step}, which ends at {log_end}")]
    BeyondLog {
        /// The step.
        step: StepId,
        /// The call's offset.
        offset: u64,
        /// Where the log ends.
        log_end: u64,
    },
    /// The bound on what an agent keeps.
    #[error("start step {step}: the stage has {limit} steps already, the agent keeps no more")]
    TooManySteps {
        /// The step.
        step: StepId,
        /// The bound.
        limit: usize,
    },
}

/// The kinds of refusal, as the wire's status codes tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Not in this state: `FAILED_PRECONDITION`.
    Precondition,
    /// The id is taken: `ALREADY_EXISTS`.
    Conflict,
    /// No such thing: `NOT_FOUND`.
    NotFound,
    /// The field's value can't be: `INVALID_ARGUMENT`.
    Invalid,
    /// A bound of the agent: `RESOURCE_EXHAUSTED`.
    Exhausted,
}

impl Refusal {
    /// The reason's text on the wire, one of [`reason`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => reason::FENCED,
            Self::NotOpened { .. } => reason::NOT_OPENED,
            Self::NotEnrolled => reason::NOT_ENROLLED,
            Self::MachineEnding { .. } => reason::MACHINE_ENDING,
            Self::UnknownStage { .. } => reason::UNKNOWN_STAGE,
            Self::OtherStage { .. } => reason::OTHER_STAGE,
            Self::StageEnded { .. } => reason::STAGE_ENDED,
            Self::NotPrepared { .. } => reason::NOT_PREPARED,
            Self::UnknownStep { .. } => reason::UNKNOWN_STEP,
            Self::Conflict { .. } => reason::CONFLICT,
            Self::BeyondLog { .. } => reason::INVALID,
            Self::TooManySteps { .. } => reason::TOO_MANY_STEPS,
        }
    }

    /// The kind, from which the wire's status code follows.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Fenced { .. }
            | Self::NotOpened { .. }
            | Self::NotEnrolled
            | Self::MachineEnding { .. }
            | Self::OtherStage { .. }
            | Self::StageEnded { .. }
            | Self::NotPrepared { .. } => RefusalKind::Precondition,
            Self::Conflict { .. } => RefusalKind::Conflict,
            Self::UnknownStage { .. } | Self::UnknownStep { .. } => RefusalKind::NotFound,
            Self::BeyondLog { .. } => RefusalKind::Invalid,
            Self::TooManySteps { .. } => RefusalKind::Exhausted,
        }
    }

    /// The field that is at fault, where one is (metadata key `vmpool-field`).
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Conflict { field, .. } => Some(field),
            Self::BeyondLog { .. } => Some("log_offset"),
            _ => None,
        }
    }

    /// The term that rules, where the caller's does not (metadata key `vmpool-term`).
    pub fn ruling(&self) -> Option<Term> {
        match self {
            Self::Fenced { ruling, .. } => Some(*ruling),
            _ => None,
        }
    }
}
