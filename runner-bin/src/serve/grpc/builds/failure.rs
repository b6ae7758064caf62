//! Errors as callers get them: a code, a sentence, and google.rpc details with a
//! reason out of a fixed vocabulary.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tonic_types::pb::precondition_failure::Violation;
use tonic_types::pb::{BadRequest, ErrorInfo, PreconditionFailure, RetryInfo, bad_request};
use vmpool_core::pool::{AcquireError, AttachError, Evidence, NoteError};
use vmpool_core::runner::RunnerError;
use vmpool_core::stage::StageError;
use vmpool_core::{ExecutorError, PoolName, StageId, StepId};
use vmpool_proto::v1;

use crate::messages;

/// The domain of every reason.
const DOMAIN: &str = "vmpool";

/// When a caller that was refused for now should ask again, in seconds.
const RETRY_SECONDS: i64 = 2;

/// Why a call failed: the vocabulary of `builds.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    InvalidField,
    UnknownPool,
    UnknownStage,
    UnknownStep,
    Conflict,
    StageOver,
    PoolStopped,
    SetupFailed,
    NoMachineInTime,
    CallOverTime,
    QueueFull,
    TooManySteps,
    TooManyStages,
    OffsetBeyondOutput,
    NotAllowed,
    RunnerLeaves,
    NoOwner,
    JournalAway,
    MachineNotReached,
    OutputNotRead,
    OtherVersion,
}

impl Reason {
    /// The word, and its code.
    fn told(self) -> (&'static str, Code) {
        match self {
            Self::InvalidField => ("INVALID_FIELD", Code::InvalidArgument),
            Self::UnknownPool => ("UNKNOWN_POOL", Code::NotFound),
            Self::UnknownStage => ("UNKNOWN_STAGE", Code::NotFound),
            Self::UnknownStep => ("UNKNOWN_STEP", Code::NotFound),
            Self::Conflict => ("CONFLICT", Code::AlreadyExists),
            Self::StageOver => ("STAGE_OVER", Code::FailedPrecondition),
            Self::PoolStopped => ("POOL_STOPPED", Code::FailedPrecondition),
            Self::SetupFailed => ("SETUP_FAILED", Code::Aborted),
            Self::NoMachineInTime => ("NO_MACHINE_IN_TIME", Code::DeadlineExceeded),
            Self::CallOverTime => ("CALL_OVER_TIME", Code::DeadlineExceeded),
            Self::QueueFull => ("QUEUE_FULL", Code::ResourceExhausted),
            Self::TooManySteps => ("TOO_MANY_STEPS", Code::ResourceExhausted),
            Self::TooManyStages => ("TOO_MANY_STAGES", Code::ResourceExhausted),
            Self::OffsetBeyondOutput => ("OFFSET_BEYOND_OUTPUT", Code::OutOfRange),
            Self::NotAllowed => ("NOT_ALLOWED", Code::PermissionDenied),
            Self::RunnerLeaves => ("RUNNER_LEAVES", Code::Unavailable),
            Self::NoOwner => ("NO_OWNER", Code::Unavailable),
            Self::JournalAway => ("JOURNAL_AWAY", Code::Unavailable),
            Self::MachineNotReached => ("MACHINE_NOT_REACHED", Code::Unavailable),
            Self::OutputNotRead => ("OUTPUT_NOT_READ", Code::Unavailable),
            Self::OtherVersion => ("OTHER_VERSION", Code::Unimplemented),
        }
    }
}

/// An error and its details, until it is a [`Status`].
#[derive(Debug)]
pub(super) struct Failure {
    reason: Reason,
    message: String,
    metadata: HashMap<String, String>,
    details: Vec<Any>,
}

impl Failure {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            details: Vec::new(),
        }
    }

    /// `field` can't be honoured.
    pub(super) fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        let (field, description) = (field.into(), why.into());
        let message = format!("{field}: {description}");
        let violation = bad_request::FieldViolation {
            field,
            description,
            ..Default::default()
        };
        let detail = BadRequest {
            field_violations: vec![violation],
        };
        Self::new(Reason::InvalidField, message).with("BadRequest", &detail)
    }

    /// What a stage or a pool is in the way of.
    fn precondition(reason: Reason, subject: &str, message: String) -> Self {
        let violation = Violation {
            r#type: reason.told().0.to_owned(),
            subject: subject.to_owned(),
            description: message.clone(),
        };
        let detail = PreconditionFailure {
            violations: vec![violation],
        };
        Self::new(reason, message).with("PreconditionFailure", &detail)
    }

    fn with(mut self, name: &str, detail: &impl prost::Message) -> Self {
        self.details.push(any("google.rpc", name, detail));
        self
    }

    fn saying(mut self, name: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    fn evidence(mut self, evidence: Vec<Evidence>) -> Self {
        let troubles = evidence.into_iter().map(messages::trouble).collect();
        let evidence = v1::Evidence { troubles };
        self.details.push(any("vmpool.v1", "Evidence", &evidence));
        self
    }
}

fn any(package: &str, name: &str, message: &impl prost::Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{package}.{name}"),
        value: message.encode_to_vec(),
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (word, code) = failure.reason.told();
        let info = ErrorInfo {
            reason: word.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: failure.metadata,
        };
        let mut details = vec![any("google.rpc", "ErrorInfo", &info)];
        if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
            let again = RetryInfo {
                retry_delay: Some(prost_types::Duration {
                    seconds: RETRY_SECONDS,
                    nanos: 0,
                }),
            };
            details.push(any("google.rpc", "RetryInfo", &again));
        }
        details.extend(failure.details);
        let whole = tonic_types::pb::Status {
            code: code.into(),
            message: failure.message.clone(),
            details,
        };
        Self::with_details(code, failure.message, whole.encode_to_vec().into())
    }
}

/// Who asks should ask the next runner.
pub(super) fn moved() -> Status {
    let message = "the runner hands over or stops: connect again";
    Failure::new(Reason::RunnerLeaves, message).into()
}

/// Another pool may have a machine for who was told this.
pub(super) fn is_of_the_pool(status: &Status) -> bool {
    let reasons = [
        Reason::UnknownPool,
        Reason::PoolStopped,
        Reason::NoMachineInTime,
        Reason::QueueFull,
        Reason::NoOwner,
    ];
    let info = status.get_details_error_info();
    info.is_some_and(|info| reasons.iter().any(|reason| reason.told().0 == info.reason))
}

/// No pool has a machine: what the last one said, and in the text why of each.
pub(super) fn of_each(mut failures: Vec<(String, Status)>) -> Status {
    if failures.len() < 2 {
        let only = failures.pop().map(|(_, status)| status);
        return only.unwrap_or_else(moved);
    }
    let whys = failures.iter();
    let whys = whys.map(|(pool, status)| format!("{pool}: {}", status.message()));
    let message = whys.collect::<Vec<_>>().join("; ");
    let last = failures.pop().map(|(_, status)| status);
    let last = last.unwrap_or_else(moved);
    let told = tonic_types::pb::Status::decode(last.details());
    let details = told.map(|told| tonic_types::pb::Status {
        message: message.clone(),
        ..told
    });
    let details = details.map(|told| told.encode_to_vec()).unwrap_or_default();
    Status::with_details(last.code(), message, details.into())
}

/// The caller's deadline is over.
pub(super) fn over_time() -> Status {
    let message = "the call's deadline is over; what was begun goes on";
    Failure::new(Reason::CallOverTime, message).into()
}

/// Why a stage did not get its machine.
pub(super) fn acquire_failed(error: RunnerError) -> Failure {
    match error {
        RunnerError::Acquire(error) => acquire(error),
        RunnerError::Unprepared { .. } => Failure::new(Reason::SetupFailed, told(&error)),
        RunnerError::Stage(StageError::Executor(ref executor)) => match executor {
            ExecutorError::Conflict { field, .. } => conflict(&error, field),
            ExecutorError::Invalid { field, reason } => Failure::field(field, reason),
            _ => Failure::new(Reason::SetupFailed, told(&error)),
        },
        error => other(error),
    }
}

fn acquire(error: AcquireError) -> Failure {
    let message = error.to_string();
    match error {
        AcquireError::Deadline { evidence, .. } => {
            Failure::new(Reason::NoMachineInTime, message).evidence(evidence)
        }
        AcquireError::QueueFull { .. } => Failure::new(Reason::QueueFull, message),
        AcquireError::Stopped { pool, evidence, .. } => {
            Failure::precondition(Reason::PoolStopped, pool.as_str(), message).evidence(evidence)
        }
        AcquireError::Cordoned { pool, .. } => {
            Failure::precondition(Reason::PoolStopped, pool.as_str(), message)
        }
        AcquireError::StageOver { stage, .. } => over(&stage, message),
        AcquireError::Conflict { field, .. } => {
            Failure::new(Reason::Conflict, message).saying("field", field)
        }
        // A journal, and what there may be one day: later.
        _ => Failure::new(Reason::JournalAway, message),
    }
}

/// Why it is not known how a step ended, or why it was not cancelled.
pub(super) fn step_failed(error: RunnerError) -> Failure {
    match &error {
        RunnerError::Stage(StageError::Executor(executor)) => match executor {
            ExecutorError::Conflict { field, .. } => conflict(&error, field),
            ExecutorError::Invalid { field, reason } => Failure::field(field, reason),
            _ => Failure::new(Reason::MachineNotReached, told(&error)),
        },
        _ => other(error),
    }
}

/// What any call may meet.
pub(super) fn other(error: RunnerError) -> Failure {
    let message = told(&error);
    match error {
        RunnerError::NotOurs { pool, .. } => nobody_s(&pool),
        RunnerError::UnknownPool { pool } => {
            Failure::new(Reason::UnknownPool, message).saying("pool", pool.as_str())
        }
        RunnerError::UnknownStage { stage }
        | RunnerError::Attach(AttachError::Unknown { stage }) => {
            Failure::new(Reason::UnknownStage, message).saying("stage", stage.as_str())
        }
        RunnerError::UnknownStep { .. } => Failure::new(Reason::UnknownStep, message),
        RunnerError::TooManySteps { .. } => Failure::new(Reason::TooManySteps, message),
        RunnerError::Attach(AttachError::Over { stage, .. })
        | RunnerError::Stage(StageError::Note(NoteError::Over { stage, .. })) => {
            over(&stage, message)
        }
        RunnerError::Acquire(error) => acquire(error),
        // Nothing but a journal that does not answer is left.
        _ => Failure::new(Reason::JournalAway, message),
    }
}

fn nobody_s(pool: &PoolName) -> Failure {
    let message = format!("pool {pool} has no owner at the moment");
    Failure::new(Reason::NoOwner, message).saying("pool", pool.as_str())
}

fn over(stage: &StageId, message: String) -> Failure {
    Failure::precondition(Reason::StageOver, stage.as_str(), message)
}

/// The step's id was used for a step of another content.
pub(super) fn another_step(step: &StepId) -> Status {
    let conflict = ExecutorError::Conflict {
        what: format!("step {step}"),
        field: "content".to_owned(),
    };
    step_failed(RunnerError::from(conflict)).into()
}

fn conflict(error: &RunnerError, field: &str) -> Failure {
    Failure::new(Reason::Conflict, told(error)).saying("field", field)
}

/// An error with its sources, on one line.
fn told(error: &RunnerError) -> String {
    format!("{:#}", anyhow::Error::new(error.clone()))
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn p3_who_got_no_machine_is_given_the_evidence() {
        let error = AcquireError::Deadline {
            pool: PoolName::new("linux"),
            stage: StageId::new("s"),
            waited: std::time::Duration::from_secs(3),
            evidence: vec![Evidence {
                at: vmpool_core::Timestamp(7),
                machine: None,
                text: "no capacity".to_owned(),
            }],
        };
        let status = Status::from(acquire_failed(error.into()));
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let info = status.get_details_error_info().expect("it has a reason");
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("NO_MACHINE_IN_TIME", DOMAIN)
        );
        let whole = tonic_types::pb::Status::decode(status.details()).expect("a status");
        let evidence = whole
            .details
            .iter()
            .find(|any| any.type_url.ends_with("vmpool.v1.Evidence"));
        let evidence =
            v1::Evidence::decode(&*evidence.expect("evidence").value).expect("it is read");
        assert_eq!(evidence.troubles[0].text, "no capacity");
    }

    #[test]
    fn p13_a_bad_field_is_named() {
        let status = Status::from(Failure::field("setup.files[2].path", "it is empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "setup.files[2].path: it is empty");
        let bad = status
            .get_details_bad_request()
            .expect("it names the field");
        assert_eq!(bad.field_violations[0].field, "setup.files[2].path");
    }

    const ALL: [Reason; 20] = [
        Reason::InvalidField,
        Reason::UnknownPool,
        Reason::UnknownStage,
        Reason::UnknownStep,
        Reason::Conflict,
        Reason::StageOver,
        Reason::PoolStopped,
        Reason::SetupFailed,
        Reason::NoMachineInTime,
        Reason::CallOverTime,
        Reason::QueueFull,
        Reason::TooManySteps,
        Reason::OffsetBeyondOutput,
        Reason::NotAllowed,
        Reason::RunnerLeaves,
        Reason::NoOwner,
        Reason::JournalAway,
        Reason::MachineNotReached,
        Reason::OutputNotRead,
        Reason::OtherVersion,
    ];

    #[test]
    fn every_reason_is_told_of_where_callers_look() {
        let page = include_str!("../../../../../docs/grpc.md");
        let proto = include_str!("../../../../../vmpool-proto/proto/vmpool/v1/builds.proto");
        for reason in ALL {
            let (word, code) = reason.told();
            // `AlreadyExists` is ALREADY_EXISTS.
            let mut name = String::new();
            for letter in format!("{code:?}").chars() {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.extend(letter.to_uppercase());
            }
            let row = format!("| `{word}` | `{name}` |");
            assert!(page.contains(&row), "docs/grpc.md lacks {row}");
            let mut lines = proto.lines().map(|line| line.split_whitespace());
            let told = lines.any(|mut it| it.nth(1) == Some(word) && it.next() == Some(&name));
            assert!(told, "builds.proto lacks {word} {name}");
        }
    }

    #[test]
    fn p9_what_may_be_asked_again_says_when() {
        let status = moved();
        let again = status.get_details_retry_info().expect("it says when");
        assert_eq!(again.retry_delay, Some(std::time::Duration::from_secs(2)));
    }
}
