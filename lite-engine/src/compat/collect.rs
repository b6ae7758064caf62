//! What a step that is over has left for its caller, read from its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmpool_core::{StepOutcome, StepStatus};
use vmpool_proto::incumbent::{PollStepAnswer, StartStepRequest};

use super::folder::Folder;
use super::plan::{self, NEW_OUTPUTS, OutputFiles};
use super::stage::End;
use super::{read, result};
use crate::output::{self, Dialect};

/// Most that is read of a file of variables, in bytes.
const VARIABLES_MAX: u64 = 16 * 1024 * 1024;

/// Most that is read of a plugin's file, in bytes.
const ARTIFACT_MAX: u64 = 16 * 1024 * 1024;

type Variables = Vec<(String, String)>;

/// A step that is over.
pub(super) struct Ended {
    pub(super) request: Arc<StartStepRequest>,
    pub(super) outcome: StepOutcome,
    /// What it found in its environment.
    pub(super) env: BTreeMap<String, String>,
    pub(super) folder: Folder,
}

impl Ended {
    /// Reads everything and removes the step's folder. Blocks.
    pub(super) fn collect(self) -> End {
        let mut answer = result::ended(&self.request, &self.outcome);
        if let Err(reason) = self.take_returned(&mut answer) {
            tracing::info!(step = self.request.id, reason, "what a step returns");
            if self.succeeded() {
                answer = result::failed(reason);
            }
        }
        if !self.request.log_drone {
            answer.optimization_state = "DISABLED".into();
        }
        self.folder.remove();
        End {
            answer,
            epilogue: String::new(),
        }
    }

    fn succeeded(&self) -> bool {
        self.outcome.status == StepStatus::Exited { code: 0 }
    }

    fn take_returned(&self, answer: &mut PollStepAnswer) -> Result<(), String> {
        if let Some(artifact) = read_file(&self.folder.artifact(), ARTIFACT_MAX)? {
            answer.artifact = STANDARD.encode(artifact);
        }
        answer.envs = self
            .variables(&self.folder.exports())?
            .into_iter()
            .collect();
        let files = OutputFiles::of(&self.request, &self.folder);
        let mut outputs = self.variables(&files.outputs)?;
        if let Some(native) = read_file(&self.folder.native_artifact(), ARTIFACT_MAX)? {
            outputs.extend(result::of_artifact(&native, &self.env));
            answer.native_artifact_output = String::from_utf8_lossy(&native).into_owned();
        }
        let secrets = if self.succeeded() {
            self.variables(&files.secrets)?
        } else {
            Vec::new()
        };
        result::returned(answer, &self.request, outputs, secrets);
        Ok(())
    }

    fn variables(&self, file: &Path) -> Result<Variables, String> {
        let Some(content) = read_file(file, VARIABLES_MAX)? else {
            return Ok(Vec::new());
        };
        let dialect = if plan::is_true(&self.env, NEW_OUTPUTS) {
            Dialect::Statements
        } else {
            Dialect::Lines
        };
        output::parse(&content, dialect).map_err(|error| error.to_string())
    }
}

fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let read = read::regular_file(path, limit);
    read.map_err(|error| format!("read {}: {error}", path.display()))
}
