//! Between the library's types and the incumbent's JSON. Pure.
//!
//! What the incumbent would pass over in silence is refused here, with its
//! field (P13): a user by name, who would be root; a directory of the stage,
//! which it does not keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vmpool_core::{
    ExecutorError, Returned, Returns, StageId, StageSetup, Step, StepId, StepStatus, Variable,
};
use vmpool_proto::incumbent::{
    File, HostVolume, Network, PollStepAnswer, ProcessConfig, Run, SetupRequest, StartStepRequest,
    Volume,
};

use crate::tls;

/// Variables with empty values are kept where this one is `true`.
const KEEP_EMPTY: &str = "CI_USE_LESS_STRICT_EVALUATION_FOR_MAP_VARS";

/// So long a process that is over its time has to end by itself, in seconds.
/// Without it the incumbent's never forces it.
const GRACE: i64 = 2;

/// No step is given more time: the incumbent counts in nanoseconds.
const TIMEOUT_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// Steps' ids become names of files, unchecked.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Longest part of an id that is taken as it is. A longer one is told by its hash.
const ID_MAX: usize = 160;

/// The answer's exit code for a step that was not carried out to its end.
const NOT_CARRIED_OUT: i32 = 255;

/// The answer's exit code for a process that a signal ended.
const SIGNALLED: i32 = -1;

/// A signal that nobody named.
const UNKNOWN_SIGNAL: i32 = 0;

/// The id of a step there.
pub(super) fn step_id(step: &StepId) -> String {
    id("step", step.as_str())
}

/// The id of a stage's mark.
pub(super) fn mark_id(stage: &StageId) -> String {
    id("stage", stage.as_str())
}

fn id(kind: &str, name: &str) -> String {
    let mut plain = utf8_percent_encode(name, PLAIN).to_string();
    if plain.len() > ID_MAX {
        plain.truncate(ID_MAX);
        let hash = tls::hash(name.as_bytes()).0;
        let digits = hash[..16].iter().map(|byte| format!("{byte:02x}"));
        plain.push('-');
        plain.extend(digits);
    }
    format!("{kind}-{plain}")
}

/// The body of `/setup`. `workspace` is where steps begin that name no directory.
///
/// # Errors
/// The field that the incumbent has no place for.
pub(super) fn setup(setup: &StageSetup, workspace: &Path) -> Result<SetupRequest, ExecutorError> {
    if setup.workdir.is_some() {
        let reason = "the incumbent's agent keeps no directory for a stage: name it in each step";
        return Err(invalid("workdir", reason));
    }
    let files = setup.files.iter().map(|file| {
        Ok(File {
            path: path("files.path", &workspace.join(&file.path))?,
            mode: file.mode,
            data: file.content.expose().to_owned(),
            is_dir: file.is_dir(),
        })
    });
    let mut envs = setup.env.clone();
    keep_empty(&mut envs);
    Ok(SetupRequest {
        envs,
        network: Network {
            id: "vmpool".to_owned(),
            ..Network::default()
        },
        // It makes the directory.
        volumes: vec![Volume {
            host: Some(HostVolume {
                id: "workspace".to_owned(),
                name: "workspace".to_owned(),
                path: path("workdir", workspace)?,
                ..HostVolume::default()
            }),
            temp: None,
        }],
        secrets: setup
            .secrets
            .iter()
            .map(|secret| secret.expose().to_owned())
            .collect(),
        files: files.collect::<Result<_, ExecutorError>>()?,
        // No step is in a container, so none has to be looked for.
        mount_docker_socket: Some(false),
        ..SetupRequest::default()
    })
}

/// The body of `/start_step`.
///
/// # Errors
/// The field that can't be honoured.
pub(super) fn start(step: &Step, workspace: &Path) -> Result<StartStepRequest, ExecutorError> {
    // Which program it is stays apart, so that none is none; the rest is one
    // list again there.
    let (entrypoint, commands) = match step.command.split_last() {
        Some((last, before)) if !before.is_empty() => (before.to_vec(), vec![last.clone()]),
        _ => (step.command.clone(), Vec::new()),
    };
    if entrypoint.first().is_none_or(String::is_empty) {
        return Err(invalid("command", "it names no program"));
    }
    let user = step.user.clone().unwrap_or_default();
    if user.bytes().any(|byte| !byte.is_ascii_digit()) {
        let reason = "the incumbent's agent takes the number of a user, and nothing else";
        return Err(invalid("user", reason));
    }
    let mut environment = step.env.clone();
    let secrets = step.secret_env.iter();
    environment.extend(secrets.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    keep_empty(&mut environment);
    let secrets = step.secret_env.values().map(vmpool_core::Secret::expose);
    let workdir = step.workdir.as_deref();
    let workdir = workdir.map_or_else(|| workspace.to_owned(), |dir| workspace.join(dir));
    let file = |field, of: fn(&Returns) -> &Option<PathBuf>| {
        let named = step
            .returns
            .as_ref()
            .and_then(|returns| of(returns).as_deref());
        named.map_or_else(|| Ok(String::new()), |named| path(field, named))
    };
    Ok(StartStepRequest {
        environment: Some(environment),
        secrets: secrets
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect(),
        run: Run {
            entrypoint,
            commands,
            binary: None,
        },
        user,
        output_var_file: file("outputs_file", |returns| &returns.outputs_file)?,
        secret_var_file: file("secrets_file", |returns| &returns.secrets_file)?,
        timeout: step.timeout.map_or(0, seconds),
        // There is no word for the number of processes; the incumbent's own
        // agent does nothing with this one either, ours does.
        mem_limit: step
            .limits
            .memory
            .map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        process_config: ProcessConfig {
            kill_process_on_context_cancel: true,
            kill_process_max_sigterm_attempts: 1,
            // Missing, it is nought there, and kills the one that kills.
            kill_process_retry_interval_secs: GRACE,
            ..ProcessConfig::default()
        },
        ..bare(step_id(&step.id), &workdir)?
    })
}

/// The body of `/start_step` for a stage's mark: it names no program.
///
/// # Errors
/// The workspace's path is not UTF-8.
pub(super) fn mark(stage: &StageId, workspace: &Path) -> Result<StartStepRequest, ExecutorError> {
    bare(mark_id(stage), workspace)
}

/// What every step has: the incumbent's needs an environment, if only an empty
/// one, and without a directory looks for reports on the whole disk.
fn bare(id: String, workdir: &Path) -> Result<StartStepRequest, ExecutorError> {
    Ok(StartStepRequest {
        name: id.clone(),
        id,
        kind: "Run".to_owned(),
        environment: Some(BTreeMap::new()),
        // Its output is for `/stream_output`.
        log_drone: true,
        working_dir: path("workdir", workdir)?,
        mount_docker_socket: Some(false),
        ..StartStepRequest::default()
    })
}

/// How a step ended, from what its poll was answered.
///
/// # Errors
/// It says that the step has not ended.
pub(super) fn status(answer: &PollStepAnswer) -> Result<StepStatus, String> {
    if !answer.exited {
        return Err("the agent answered before the step's end".to_owned());
    }
    if answer.oom_killed {
        return Ok(StepStatus::OutOfMemory);
    }
    Ok(match answer.exit_code {
        NOT_CARRIED_OUT => not_carried_out(&answer.error),
        SIGNALLED => StepStatus::Signalled {
            signal: UNKNOWN_SIGNAL,
        },
        code => StepStatus::Exited { code },
    })
}

/// What the step has returned.
pub(super) fn returned(answer: &PollStepAnswer) -> Returned {
    let secret = |name: &str| {
        let mut typed = answer.output_v2.iter();
        typed.any(|output| output.key == *name && output.kind == "SECRET")
    };
    let plain = answer.outputs.iter().map(|(name, value)| Variable {
        name: name.clone(),
        value: value.clone(),
        is_secret: secret(name),
    });
    // Those of the file of secrets are in no other list.
    let others = answer
        .output_v2
        .iter()
        .filter(|output| output.kind == "SECRET" && !answer.outputs.contains_key(&output.key));
    let others = others.map(|output| Variable {
        name: output.key.clone(),
        value: output.value.clone(),
        is_secret: true,
    });
    Returned {
        exported: answer.envs.clone(),
        outputs: plain.chain(others).collect(),
        trouble: None,
    }
}

/// The incumbent has one exit code for all that went wrong, and sometimes for
/// what did not: its text says which it was.
fn not_carried_out(error: &str) -> StepStatus {
    let reason = match error.split_once("occurred:\n\t* ") {
        Some((_, reasons)) => reasons.trim(),
        None => error.trim(),
    };
    let not_started = ["exec: ", "fork/exec ", "chdir ", "step entrypoint "];
    if let Some(code) = exit_status(reason) {
        match code {
            SIGNALLED => StepStatus::Signalled {
                signal: UNKNOWN_SIGNAL,
            },
            code => StepStatus::Exited { code },
        }
    } else if reason.is_empty() {
        let code = NOT_CARRIED_OUT;
        StepStatus::Exited { code }
    } else if reason.contains("context deadline exceeded") {
        StepStatus::TimedOut
    } else if reason.contains("context canceled") {
        StepStatus::Cancelled
    } else if not_started.iter().any(|start| reason.starts_with(start)) {
        let reason = reason.to_owned();
        StepStatus::NotStarted { reason }
    } else {
        let reason = reason.strip_prefix("the step was lost: ").unwrap_or(reason);
        let reason = reason.to_owned();
        StepStatus::Lost { reason }
    }
}

/// The exit code that a text names at last.
fn exit_status(text: &str) -> Option<i32> {
    let (_, code) = text.rsplit_once("exit status ")?;
    let end = code.find(|c: char| !c.is_ascii_digit() && c != '-');
    code[..end.unwrap_or(code.len())].parse().ok()
}

fn keep_empty(env: &mut BTreeMap<String, String>) {
    if env.values().any(String::is_empty) {
        env.insert(KEEP_EMPTY.to_owned(), "true".to_owned());
    }
}

/// Whole seconds, none too few.
fn seconds(timeout: Duration) -> i64 {
    let whole = timeout.min(TIMEOUT_MAX).as_millis().div_ceil(1000).max(1);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

fn path(field: &str, path: &Path) -> Result<String, ExecutorError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| invalid(field, &format!("{} is not UTF-8", path.display())))
}

fn invalid(field: &str, reason: &str) -> ExecutorError {
    ExecutorError::Invalid {
        field: field.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
