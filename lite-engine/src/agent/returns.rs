//! How a step of vmpool's protocol returns variables: by files in a folder of
//! its own in the stage's, which goes with the stage.
//!
//! The files themselves are the record: they are read when the step's end is
//! told, as often as that is, also by an agent that was restarted meanwhile;
//! and when a later step starts, which finds what was exported.
//!
//! A step that runs as another user can't enter the stage's folder, and has
//! none of this.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vmpool_core::{Returns, StepId};
use vmpool_proto::agent::v1::{Returned, Variable};

use crate::host::{Host, file_name};
use crate::output::{self, Dialect};
use crate::untrusted::regular_file;
use crate::user::Account;

/// In the stage's folder.
const DIR: &str = "returns";

/// Most that is read of one file, in bytes: all of them fit into one answer.
const FILE_MAX: u64 = 1 << 20;

/// Values of several lines are written in base64 where this one is `true`.
const NEW_OUTPUTS: &str = "CI_NEW_VERSION_GODOTENV";

/// One step's files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

/// Files that the caller has named.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Named {
    outputs: Option<PathBuf>,
    secrets: Option<PathBuf>,
}

impl Files {
    pub(super) fn of(host: &Host, step: &StepId) -> Self {
        Self {
            folder: host.stage_dir().join(DIR).join(file_name(step)),
        }
    }

    /// Makes the folder for a step that starts.
    pub(super) fn make(&self, returns: &Returns) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(&self.folder)?;
        let named = Named {
            outputs: returns.outputs_file.clone(),
            secrets: returns.secrets_file.clone(),
        };
        if named.outputs.is_some() || named.secrets.is_some() {
            fs::write(self.names(), serde_json::to_vec(&named)?)?;
        }
        Ok(())
    }

    /// What tells the step where the files are.
    pub(super) fn environment(&self, returns: &Returns) -> [(String, String); 4] {
        let or = |named: &Option<PathBuf>, own: PathBuf| {
            let path = named.clone().unwrap_or(own);
            path.to_string_lossy().into_owned()
        };
        let outputs = or(&returns.outputs_file, self.outputs());
        [
            (output::FILE_VARIABLE.to_owned(), outputs.clone()),
            ("HARNESS_OUTPUT_FILE".to_owned(), outputs),
            (
                "HARNESS_OUTPUT_SECRET_FILE".to_owned(),
                self.secrets_file(returns).to_string_lossy().into_owned(),
            ),
            ("DRONE_ENV".to_owned(), or(&None, self.exports())),
        ]
    }

    /// Where the step writes what its log must not show.
    pub(super) fn secrets_file(&self, returns: &Returns) -> PathBuf {
        let named = returns.secrets_file.clone();
        named.unwrap_or_else(|| self.folder.join("secret.env"))
    }

    /// What the step has returned; none where it could return nothing. Blocks shortly.
    pub(super) fn read(&self, env: &BTreeMap<String, String>, succeeded: bool) -> Option<Returned> {
        if !self.folder.is_dir() {
            return None;
        }
        let read = self.read_all(dialect(env), succeeded);
        let returned = read.unwrap_or_else(|reason| Returned {
            trouble: Some(reason),
            ..Returned::default()
        });
        (returned != Returned::default()).then_some(returned)
    }

    fn read_all(&self, dialect: Dialect, succeeded: bool) -> Result<Returned, String> {
        let named = match regular_file(&self.names(), FILE_MAX) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) => Named::default(),
            Err(error) => return Err(error.to_string()),
        };
        let variable = |is_secret| {
            move |(name, value)| Variable {
                name,
                value,
                is_secret,
            }
        };
        let outputs = named.outputs.unwrap_or_else(|| self.outputs());
        let outputs = variables(&outputs, dialect)?.into_iter();
        let mut outputs: Vec<_> = outputs.map(variable(false)).collect();
        if succeeded {
            let secrets = named
                .secrets
                .unwrap_or_else(|| self.folder.join("secret.env"));
            let secrets = variables(&secrets, dialect)?.into_iter();
            outputs.extend(secrets.map(variable(true)));
        }
        let exported: HashMap<_, _> = variables(&self.exports(), dialect)?.into_iter().collect();
        Ok(Returned {
            exported,
            outputs,
            trouble: None,
        })
    }

    fn outputs(&self) -> PathBuf {
        self.folder.join("output.env")
    }

    fn exports(&self) -> PathBuf {
        self.folder.join("export.env")
    }

    fn names(&self) -> PathBuf {
        self.folder.join("named")
    }
}

/// Whether a step of that user can have such files.
pub(super) fn may_return(user: Option<&str>) -> bool {
    // One that nobody knows is told when the step begins.
    user.is_none_or(|user| Account::find(user).is_ok_and(|account| account.is_own()))
}

/// What all steps that are over have exported, the later ones last. Blocks shortly.
pub(super) fn exported(host: &Host, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let steps = host.steps().into_iter();
    let mut over: Vec<_> = steps
        .filter_map(|step| Some((step.outcome()?.ended_at, step.id().clone())))
        .collect();
    over.sort();
    let mut all = BTreeMap::new();
    for (_, step) in over {
        match variables(&Files::of(host, &step).exports(), dialect(env)) {
            Ok(variables) => all.extend(variables),
            Err(reason) => tracing::warn!(%step, reason, "what a step exported"),
        }
    }
    // No environment can hold the others.
    all.retain(|name, value| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    });
    all
}

fn variables(file: &Path, dialect: Dialect) -> Result<Vec<(String, String)>, String> {
    let read = regular_file(file, FILE_MAX);
    let read = read.map_err(|error| format!("read {}: {error}", file.display()))?;
    match read {
        None => Ok(Vec::new()),
        Some(bytes) => output::parse(&bytes, dialect).map_err(|error| error.to_string()),
    }
}

fn dialect(env: &BTreeMap<String, String>) -> Dialect {
    match env.get(NEW_OUTPUTS) {
        Some(value) if value == "true" => Dialect::Statements,
        _ => Dialect::Lines,
    }
}
