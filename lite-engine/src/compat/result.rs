//! How a step's end is told, in the incumbent's words. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use vmpool_core::{StepOutcome, StepStatus};
use vmpool_proto::incumbent::{Output, PollStepAnswer, StartStepRequest, StepKind};

/// The exit code of a step that could not be carried out to its end.
const NOT_CARRIED_OUT: i32 = 255;

/// The exit code of a process that a signal ended.
const SIGNALLED: i32 = -1;

/// The exit code of a step that the kernel killed at its limit of memory.
const KILLED: i32 = 137;

/// The answer for a step that can't be carried out.
pub(super) fn failed(reason: impl Into<String>) -> PollStepAnswer {
    PollStepAnswer {
        exited: true,
        exit_code: NOT_CARRIED_OUT,
        error: reason.into(),
        ..PollStepAnswer::default()
    }
}

/// The answer for a step that ended so; what it returns comes on top.
pub(super) fn ended(request: &StartStepRequest, outcome: &StepOutcome) -> PollStepAnswer {
    let exited = |code: i32| PollStepAnswer {
        exited: true,
        exit_code: code,
        // The incumbent joins errors by a library that counts them.
        error: format!("1 error occurred:\n\t* exit status {code}\n\n"),
        ..PollStepAnswer::default()
    };
    match &outcome.status {
        StepStatus::Exited { code: 0 } => PollStepAnswer {
            exited: true,
            ..PollStepAnswer::default()
        },
        StepStatus::Exited { code } => exited(*code),
        StepStatus::Signalled { .. } => exited(SIGNALLED),
        StepStatus::OutOfMemory => PollStepAnswer {
            exited: true,
            exit_code: KILLED,
            error: "oom killed".into(),
            oom_killed: true,
            ..PollStepAnswer::default()
        },
        StepStatus::TimedOut => failed("context deadline exceeded"),
        StepStatus::Cancelled => failed("context canceled: the stage has ended"),
        StepStatus::NotStarted { reason } => failed(not_started(request, reason)),
        StepStatus::Lost { reason } => failed(format!("the step was lost: {reason}")),
        other => failed(format!("the step ended as {other:?}")),
    }
}

/// Why a program was not executed, as Go says it.
fn not_started(request: &StartStepRequest, reason: &str) -> String {
    let program = match request.kind() {
        StepKind::Run => request.run.entrypoint.first(),
        StepKind::RunTest => request.run_test.entrypoint.first(),
        StepKind::RunTests => request.run_test_v2.entrypoint.first(),
    };
    let program = program.map_or("sh", String::as_str);
    let lower = |text: &str| {
        let mut characters = text.chars();
        let first = characters.next().map(|first| first.to_ascii_lowercase());
        first.into_iter().chain(characters).collect::<String>()
    };
    let about_program = reason
        .strip_prefix(program)
        .and_then(|rest| rest.strip_prefix(": "));
    match about_program.map(lower) {
        Some(why) if program.contains('/') => format!("fork/exec {program}: {why}"),
        Some(why) if why == "no such file or directory" => {
            format!("exec: \"{program}\": executable file not found in $PATH")
        }
        Some(why) => format!("exec: \"{program}\": {why}"),
        None => match reason.strip_prefix("working directory ") {
            Some(rest) => match rest.rsplit_once(": ") {
                Some((dir, why)) => format!("chdir {dir}: {}", lower(why)),
                None => format!("chdir {rest}"),
            },
            None => reason.to_owned(),
        },
    }
}

/// Puts what the step returned into its answer.
pub(super) fn returned(
    answer: &mut PollStepAnswer,
    request: &StartStepRequest,
    outputs: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
) {
    let output = |(key, value): (String, String), kind: &str| Output {
        key,
        value,
        kind: kind.into(),
    };
    answer.outputs = outputs.iter().cloned().collect();
    answer.output_v2 = if request.outputs.is_empty() {
        let all = outputs.into_iter();
        all.map(|pair| output(pair, "STRING")).collect()
    } else {
        let wanted = request.outputs.iter();
        wanted
            .filter_map(|wanted| {
                let value = answer.outputs.get(&wanted.key)?.clone();
                let kind = match wanted.kind.as_str() {
                    "" => "STRING",
                    kind => kind,
                };
                Some(output((wanted.key.clone(), value), kind))
            })
            .collect()
    };
    let secrets = secrets.into_iter().map(|pair| output(pair, "SECRET"));
    answer.output_v2.extend(secrets);
}

/// What the artifact client writes.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NativeArtifact {
    artifact_name: String,
    version: String,
    registry: String,
    file_count: u64,
    total_bytes: u64,
}

/// Outputs that follow from what the artifact client wrote; none where it is
/// no such thing.
pub(super) fn of_artifact(written: &[u8], env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let Ok(artifact) = serde_json::from_slice::<NativeArtifact>(written) else {
        return Vec::new();
    };
    let mut outputs = vec![
        ("ARTIFACT_COUNT".to_owned(), artifact.file_count.to_string()),
        (
            "ARTIFACT_BYTES".to_owned(),
            artifact.total_bytes.to_string(),
        ),
        (
            "ARTIFACT_BYTES_HUMAN".to_owned(),
            human(artifact.total_bytes),
        ),
    ];
    if let (Some(base), Some(account)) = (env.get("HARNESS_HAR_URL"), env.get("HARNESS_ACCOUNT_ID"))
    {
        let NativeArtifact {
            artifact_name,
            version,
            registry,
            ..
        } = artifact;
        let base = base.trim_end_matches('/');
        let url = format!("{base}/pkg/{account}/{registry}/{artifact_name}/{version}");
        outputs.push(("ARTIFACT_URLS".to_owned(), url));
    }
    outputs
}

/// Bytes as people read them, in steps of a thousand, one digit after the
/// point below ten.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = "B";
    let mut scale = 1_u64;
    for next in UNITS {
        if bytes / scale < 1000 {
            break;
        }
        unit = next;
        scale *= 1000;
    }
    if scale == 1 {
        return format!("{bytes} B");
    }
    // In tenths, rounded.
    let tenths = (u128::from(bytes) * 20 + u128::from(scale)) / (u128::from(scale) * 2);
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", (tenths + 5) / 10)
    }
}

#[cfg(test)]
mod tests {
    use vmpool_core::Timestamp;

    use super::*;

    fn answer(status: StepStatus, program: &str) -> PollStepAnswer {
        let mut request = StartStepRequest::default();
        request.run.entrypoint = vec![program.to_owned()];
        let outcome = StepOutcome {
            status,
            started_at: Timestamp(0),
            ended_at: Timestamp(1),
            log_end: 0,
        };
        ended(&request, &outcome)
    }

    #[test]
    fn ends_are_told_in_the_incumbents_words() {
        let cases = [
            (StepStatus::Exited { code: 0 }, 0, ""),
            (
                StepStatus::Exited { code: 3 },
                3,
                "1 error occurred:\n\t* exit status 3\n\n",
            ),
            (
                StepStatus::Signalled { signal: 9 },
                -1,
                "1 error occurred:\n\t* exit status -1\n\n",
            ),
            (StepStatus::TimedOut, 255, "context deadline exceeded"),
        ];
        for (status, code, error) in cases {
            let told = answer(status, "sh");
            assert!(told.exited);
            assert_eq!((told.exit_code, told.error.as_str()), (code, error));
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_as_go_does() {
        let not_started = |program: &str, reason: &str| {
            let reason = reason.to_owned();
            answer(StepStatus::NotStarted { reason }, program).error
        };
        assert_eq!(
            not_started("/nope", "/nope: No such file or directory"),
            "fork/exec /nope: no such file or directory"
        );
        assert_eq!(
            not_started("nope", "nope: No such file or directory"),
            "exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(
            not_started("sh", "working directory /x: No such file or directory"),
            "chdir /x: no such file or directory"
        );
    }

    #[test]
    fn sizes_are_told_in_steps_of_a_thousand() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1536, "1.5 kB"),
            (9_949, "9.9 kB"),
            (82_854_982, "83 MB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, told) in cases {
            assert_eq!(human(bytes), told);
        }
    }
}
