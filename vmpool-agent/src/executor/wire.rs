//! Between the library's types and the wire's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};
use vmpool_core::agent::reason as refusal;
use vmpool_core::{
    AgentReport, BootPhase, ExecutorError, Lease, Returned, Returns, StageId, StageSetup, Step,
    StepId, StepOutcome, StepReport, StepStatus, Term, Timestamp, Variable,
};
use vmpool_proto::agent::v1 as proto;
use vmpool_proto::agent::v1::step_ended::How;

use crate::reason;

/// The term that an agent obeys instead of ours, if that is why it refused.
pub(crate) fn fenced_by(status: &Status) -> Option<Term> {
    if why(status) != Some(refusal::FENCED) {
        return None;
    }
    text(status, "vmpool-term")
        .and_then(|term| term.parse().ok())
        .map(Term)
}

/// What an agent says of itself. The error says what in it can't be.
pub(crate) fn report(report: proto::Report) -> Result<AgentReport, String> {
    let steps = report.steps.into_iter().map(|step| {
        let id = StepId::parse(&step.id).map_err(|error| error.to_string())?;
        let status = step
            .ended
            .map(outcome)
            .transpose()?
            .map(|outcome| outcome.status);
        Ok(StepReport {
            id,
            status,
            log_end: step.log_end,
        })
    });
    let stage = report.stage_id.as_deref().map(StageId::parse).transpose();
    Ok(AgentReport {
        term: report.term.map(Term),
        stage: stage.map_err(|error| error.to_string())?,
        prepared: report.prepared,
        ended: report.ended,
        steps: steps.collect::<Result<_, String>>()?,
        version: report.version,
        boot: report.boot.into_iter().map(boot_phase).collect(),
    })
}

fn boot_phase(phase: proto::BootPhase) -> BootPhase {
    BootPhase {
        name: phase.name,
        began_ago: Duration::from_millis(phase.began_ms_ago),
        took: Duration::from_millis(phase.took_ms),
    }
}

/// How a step ended. The error says what in it can't be.
pub(super) fn outcome(ended: proto::StepEnded) -> Result<StepOutcome, String> {
    let status = match ended.how() {
        How::Exited => StepStatus::Exited { code: ended.code },
        How::Signalled => StepStatus::Signalled { signal: ended.code },
        How::OutOfMemory => StepStatus::OutOfMemory,
        How::TimedOut => StepStatus::TimedOut,
        How::Cancelled => StepStatus::Cancelled,
        How::NotStarted => StepStatus::NotStarted {
            reason: ended.reason,
        },
        How::Lost => StepStatus::Lost {
            reason: ended.reason,
        },
        How::Unspecified => {
            return Err(format!(
                "a step ended in a way unknown here ({})",
                ended.how
            ));
        }
    };
    Ok(StepOutcome {
        status,
        started_at: Timestamp(ended.started_at_ms),
        ended_at: Timestamp(ended.ended_at_ms),
        log_end: ended.log_end,
    })
}

pub(super) fn prepare(
    lease: &Lease,
    setup: &StageSetup,
    left: Duration,
) -> Result<proto::PrepareRequest, ExecutorError> {
    let files = setup.files.iter().map(|file| {
        Ok(proto::File {
            path: path("files.path", &file.path)?,
            mode: file.mode,
            content: file.content.expose().as_bytes().to_vec(),
        })
    });
    Ok(proto::PrepareRequest {
        term: lease.term().0,
        stage_id: lease.stage().as_str().to_owned(),
        deadline_ms: millis(left),
        workdir: setup
            .workdir
            .as_deref()
            .map(|dir| path("workdir", dir))
            .transpose()?,
        env: env(&setup.env),
        files: files.collect::<Result<_, ExecutorError>>()?,
        secrets: setup
            .secrets
            .iter()
            .map(|secret| secret.expose().to_owned())
            .collect(),
    })
}

pub(super) fn start(
    lease: &Lease,
    step: &Step,
    log_offset: u64,
) -> Result<proto::StartStep, ExecutorError> {
    let secret_env = step.secret_env.iter();
    Ok(proto::StartStep {
        term: lease.term().0,
        stage_id: lease.stage().as_str().to_owned(),
        step_id: step.id.as_str().to_owned(),
        command: step.command.clone(),
        env: env(&step.env),
        secret_env: secret_env
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        workdir: step
            .workdir
            .as_deref()
            .map(|dir| path("workdir", dir))
            .transpose()?,
        user: step.user.clone(),
        timeout_ms: step.timeout.map(millis),
        log_offset,
        limits: (!step.limits.is_none()).then_some(proto::Limits {
            memory_bytes: step.limits.memory,
            processes: step.limits.processes,
        }),
        returns: step.returns.as_ref().map(returns).transpose()?,
    })
}

fn returns(returns: &Returns) -> Result<proto::Returns, ExecutorError> {
    let file = |field, named: &Option<PathBuf>| {
        let named = named.as_deref();
        named.map(|file| path(field, file)).transpose()
    };
    Ok(proto::Returns {
        outputs_file: file("outputs_file", &returns.outputs_file)?,
        secrets_file: file("secrets_file", &returns.secrets_file)?,
    })
}

/// What a step has returned.
pub(super) fn returned(returned: proto::Returned) -> Returned {
    let variable = |variable: proto::Variable| Variable {
        name: variable.name,
        value: variable.value,
        is_secret: variable.is_secret,
    };
    Returned {
        exported: returned.exported.into_iter().collect(),
        outputs: returned.outputs.into_iter().map(variable).collect(),
        trouble: returned.trouble,
    }
}

pub(super) fn attach(lease: &Lease, step: &StepId, log_offset: u64) -> proto::AttachStep {
    proto::AttachStep {
        term: lease.term().0,
        stage_id: lease.stage().as_str().to_owned(),
        step_id: step.as_str().to_owned(),
        log_offset,
    }
}

/// What a failed call means.
pub(super) enum Verdict {
    /// The agent's own answer, and final.
    Answer(ExecutorError),
    /// The call broke: the same call again may do.
    Broken(String),
}

/// `attempted` is a verb and its object, such as `run step build`; `what` is
/// the object alone.
pub(super) fn verdict(status: &Status, lease: &Lease, attempted: &str, what: &str) -> Verdict {
    let reason = reason::status(status);
    let failed = |reason: String| {
        let (stage, attempted) = (lease.stage().clone(), attempted.to_owned());
        ExecutorError::Failed {
            stage,
            attempted,
            reason,
        }
    };
    // What broke on the way has a source; what the agent sent has none.
    if std::error::Error::source(status).is_some() {
        return match status.code() {
            Code::OutOfRange => Verdict::Answer(failed(reason)),
            _ => Verdict::Broken(reason),
        };
    }
    let field = || text(status, "vmpool-field").map(str::to_owned);
    Verdict::Answer(match status.code() {
        Code::FailedPrecondition if why(status) == Some(refusal::MACHINE_ENDING) => {
            ExecutorError::MachineLost {
                machine: lease.machine_id().clone(),
                reason,
            }
        }
        Code::FailedPrecondition => ExecutorError::Refused {
            machine: lease.machine_id().clone(),
            attempted: attempted.to_owned(),
            reason: match fenced_by(status) {
                Some(theirs) => format!("it obeys term {theirs}, ours is {}", lease.term()),
                None => reason,
            },
        },
        Code::AlreadyExists => ExecutorError::Conflict {
            what: what.to_owned(),
            field: field().unwrap_or_else(|| "content".to_owned()),
        },
        Code::InvalidArgument => match field() {
            Some(field) => ExecutorError::Invalid { field, reason },
            None => failed(reason),
        },
        // Also what this end makes of an answer that broke off.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => {
            return Verdict::Broken(reason);
        }
        _ => failed(reason),
    })
}

pub(super) fn why(status: &Status) -> Option<&str> {
    text(status, "vmpool-reason")
}

fn text<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status
        .metadata()
        .get(key)
        .and_then(|value| value.to_str().ok())
}

fn env(env: &BTreeMap<String, String>) -> HashMap<String, String> {
    env.iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn path(field: &str, path: &Path) -> Result<String, ExecutorError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| ExecutorError::Invalid {
            field: field.to_owned(),
            reason: format!("{} is not UTF-8", path.display()),
        })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
