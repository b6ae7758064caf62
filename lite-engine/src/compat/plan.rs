//! Turns what a caller asks of a step into what the host is ordered. Pure.
//!
//! Whatever can't be carried out is the step's own failure, told by its poll:
//! the incumbent takes every step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmpool_core::agent::StepRecord;
use vmpool_core::{Limits, Secret};
use vmpool_proto::incumbent::{SetupRequest, StartStepRequest, StepKind};

use super::folder::Folder;
use super::tests_command;
use crate::agent::chain;
use crate::host::StepOrder;
use crate::mask::{Expressions, Style};
use crate::output::{self, Wanted};

/// Before each line of what is to be executed.
const COLOUR: &str = "\u{1b}[33;1m";

/// To end by itself, where the request does not say.
const USUAL_GRACE: Duration = Duration::from_secs(2);

/// To end by itself, where the request asks for a soft stop.
const SOFT_STOP: Duration = Duration::from_secs(30);

/// Between two requests to end, where the request names the number of them only.
const USUAL_INTERVAL: u64 = 60;

/// No grace is longer.
const GRACE_MAX: Duration = Duration::from_hours(1);

/// Variables with empty values are kept where this one is `true`.
const KEEP_EMPTY: &str = "CI_USE_LESS_STRICT_EVALUATION_FOR_MAP_VARS";

/// Output values go through base64 where this one is `true`.
pub(super) const NEW_OUTPUTS: &str = "CI_NEW_VERSION_GODOTENV";

/// Files of plugins that come to lie in the step's folder.
const PLUGIN_FILES: [&str; 4] = [
    "PLUGIN_METADATA_FILE",
    "PLUGIN_CACHE_METRICS_FILE",
    "PLUGIN_CACHE_INTEL_METRICS_FILE",
    "PLUGIN_BUILD_TOOL_FILE",
];

/// All that a step depends on besides its request.
pub(super) struct Surroundings<'a> {
    pub(super) setup: &'a SetupRequest,
    /// The agent's own environment.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// What earlier steps left for later ones.
    pub(super) exported: &'a BTreeMap<String, String>,
    /// Secrets that earlier steps returned.
    pub(super) learned: &'a [String],
    pub(super) folder: &'a Folder,
    /// Where a step begins that names no directory.
    pub(super) workdir: &'a Path,
    /// By what, and where, the step gets tokens.
    pub(super) identity: Option<(&'a str, &'a str)>,
}

/// Where a step leaves what it returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputFiles {
    pub(super) outputs: PathBuf,
    pub(super) secrets: PathBuf,
}

impl OutputFiles {
    pub(super) fn of(request: &StartStepRequest, folder: &Folder) -> Self {
        let or = |named: &str, own: PathBuf| match named {
            "" => own,
            named => named.into(),
        };
        Self {
            outputs: or(&request.output_var_file, folder.outputs()),
            secrets: or(&request.secret_var_file, folder.secrets()),
        }
    }
}

/// What the host is to do for a step.
///
/// # Errors
/// Why it can't be done.
pub(super) fn order(
    request: &StartStepRequest,
    around: &Surroundings<'_>,
    record: StepRecord,
) -> Result<StepOrder, String> {
    if !request.image.is_empty() {
        return Err(format!(
            "image {}: steps in containers are not supported",
            request.image
        ));
    }
    let (entrypoint, mut commands) = command(request)?;
    let env = environment(request, around);
    let preamble = if request.log_drone {
        String::new()
    } else {
        told(&commands)
    };
    let wanted = wanted(request);
    if !wanted.is_empty() {
        let first = commands.first_mut().filter(|_| !entrypoint.is_empty());
        let first =
            first.ok_or("output variable should not be set for unset entrypoint or command")?;
        let encoded = is_true(&env, NEW_OUTPUTS);
        *first = output::capture(&entrypoint, first, &wanted, encoded);
    }
    if entrypoint.first().is_none_or(String::is_empty) {
        return Err("step entrypoint cannot be empty".into());
    }
    Ok(StepOrder {
        record,
        command: [entrypoint, commands].concat(),
        env,
        secrets: secrets(request, around),
        mask: Style::Incumbent,
        expressions: expressions(around.setup)?,
        secrets_file: Some(OutputFiles::of(request, around.folder).secrets),
        workdir: around.workdir.join(&request.working_dir),
        user: Some(request.user.clone()).filter(|user| !user.is_empty()),
        timeout: seconds(request.timeout),
        limits: limits(request),
        detached: request.detach,
        grace: Some(grace(request)),
        preamble,
    })
}

fn command(request: &StartStepRequest) -> Result<(Vec<String>, Vec<String>), String> {
    Ok(match request.kind() {
        StepKind::Run => (request.run.entrypoint.clone(), request.run.commands.clone()),
        StepKind::RunTest => tests_command::of(&request.run_test)?,
        StepKind::RunTests => {
            let tests = &request.run_test_v2;
            if tests.commands.is_empty() {
                return Err("run_test_v2.commands: there is no command".into());
            }
            (tests.entrypoint.clone(), tests.commands.clone())
        }
    })
}

/// What the step finds in its environment.
pub(super) fn environment(
    request: &StartStepRequest,
    around: &Surroundings<'_>,
) -> BTreeMap<String, String> {
    let mut asked = around.setup.envs.clone();
    asked.extend(around.exported.clone());
    asked.extend(request.environment());
    if !is_true(&asked, KEEP_EMPTY) {
        asked.retain(|_, value| !value.is_empty());
    }
    let mut env = around.environment.clone();
    env.extend(asked);

    let files = OutputFiles::of(request, around.folder);
    let scratch = match request.scratch_dir.as_str() {
        "" => around.folder.scratch(),
        named => named.into(),
    };
    let mut set = |name: &str, path: &Path| {
        env.insert(name.to_owned(), path.to_string_lossy().into_owned());
    };
    set("DRONE_ENV", &around.folder.exports());
    set("HARNESS_ANNOTATIONS_FILE", &around.folder.annotations());
    set(
        "HARNESS_ARTIFACT_FILE_PATH",
        &around.folder.native_artifact(),
    );
    set("HARNESS_SCRATCH_DIR", &scratch);
    set("HARNESS_OUTPUT_FILE", &files.outputs);
    set(output::FILE_VARIABLE, &files.outputs);
    set("HARNESS_OUTPUT_SECRET_FILE", &files.secrets);
    set("PLUGIN_ARTIFACT_FILE", &around.folder.artifact());
    for name in PLUGIN_FILES {
        let Some(value) = env.get(name) else { continue };
        let file = Path::new(value).file_name();
        if let Some(file) = file.and_then(|file| file.to_str()) {
            let path = around.folder.file(file);
            env.insert(name.into(), path.to_string_lossy().into_owned());
        }
    }
    if let Some((handle, url)) = around.identity {
        env.insert("HARNESS_WI_HANDLE".into(), handle.into());
        env.insert("HARNESS_WI_MINT_URL".into(), url.into());
    }
    env
}

pub(super) fn is_true(env: &BTreeMap<String, String>, name: &str) -> bool {
    env.get(name).is_some_and(|value| value == "true")
}

/// `outputs`, else `output_vars`.
fn wanted(request: &StartStepRequest) -> Vec<Wanted<'_>> {
    if request.outputs.is_empty() {
        let names = request.output_vars.iter();
        return names
            .map(|name| Wanted {
                key: name,
                variable: name,
            })
            .collect();
    }
    let outputs = request.outputs.iter();
    outputs
        .map(|output| Wanted {
            key: &output.key,
            variable: &output.value,
        })
        .collect()
}

/// Values that the step's log may not show.
pub(super) fn secrets(request: &StartStepRequest, around: &Surroundings<'_>) -> Vec<Secret> {
    let identities = request.workload_identities.iter();
    let values = around
        .setup
        .secrets
        .iter()
        .chain(&request.secrets)
        .chain(around.learned)
        .chain(identities.map(|identity| &identity.workload_token));
    values
        .filter(|value| !value.is_empty())
        .cloned()
        .map(Secret::new)
        .collect()
}

/// Regular expressions that logs are cleaned of, one a line.
///
/// # Errors
/// They are not in base64, or one can't be compiled.
pub(super) fn expressions(setup: &SetupRequest) -> Result<String, String> {
    let field = "log_config.sanitize_config.sanitize_patterns_content";
    let encoded = &setup.log_config.sanitize_config.sanitize_patterns_content;
    let decoded = STANDARD.decode(encoded.trim());
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| format!("{field}: it is no text in base64"))?;
    let compiled = Expressions::of_lines(&text);
    compiled.map_err(|error| format!("{field}: {}", chain(&error)))?;
    Ok(text)
}

/// What a log begins with that people read in the incumbent's user interface.
fn told(commands: &[String]) -> String {
    let mut text = format!("{COLOUR}Executing the following command(s):\n");
    for line in commands.iter().flat_map(|command| command.lines()) {
        text.push_str(COLOUR);
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn grace(request: &StartStepRequest) -> Duration {
    let config = &request.process_config;
    if config.kill_process_on_context_cancel {
        let attempts = u64::try_from(config.kill_process_max_sigterm_attempts).unwrap_or(0);
        let interval = u64::try_from(config.kill_process_retry_interval_secs).unwrap_or(0);
        let interval = if interval == 0 {
            USUAL_INTERVAL
        } else {
            interval
        };
        return Duration::from_secs(attempts.saturating_mul(interval)).min(GRACE_MAX);
    }
    if request.soft_stop {
        SOFT_STOP
    } else {
        USUAL_GRACE
    }
}

/// Of a container the incumbent's callers name the memory; processes they don't.
fn limits(request: &StartStepRequest) -> Limits {
    Limits {
        memory: u64::try_from(request.mem_limit)
            .ok()
            .filter(|bytes| *bytes > 0),
        processes: None,
    }
}

fn seconds(timeout: i64) -> Option<Duration> {
    u64::try_from(timeout)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}
