//! What a step that is over has left for its caller, read from its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmpool_core::{Secret, StepOutcome, StepStatus};
use vmpool_proto::incumbent::{PollStepAnswer, StartStepRequest};

use super::folder::Folder;
use super::plan::{self, NEW_OUTPUTS, OutputFiles};
use super::stage::End;
use super::{reports, result};
use crate::mask::{Masker, Style};
use crate::output::{self, Dialect};
use crate::untrusted::regular_file;

/// Most that is read of a file of variables, in bytes.
const VARIABLES_MAX: u64 = 16 * 1024 * 1024;

/// Most that is read of a plugin's file, in bytes.
const ARTIFACT_MAX: u64 = 16 * 1024 * 1024;

/// Most that is read of annotations, in bytes: fifty of 64 KiB.
const ANNOTATIONS_MAX: u64 = 50 * 64 * 1024;

type Variables = Vec<(String, String)>;

/// All that a step has left.
pub(super) struct Collected {
    pub(super) end: End,
    /// What is to be shown beside the build.
    pub(super) annotations: Option<Vec<u8>>,
}

/// A step that is over.
pub(super) struct Ended {
    pub(super) request: Arc<StartStepRequest>,
    pub(super) outcome: StepOutcome,
    /// What it found in its environment.
    pub(super) env: BTreeMap<String, String>,
    pub(super) folder: Folder,
    /// Where it began.
    pub(super) workdir: PathBuf,
    /// Values that its log may not show.
    pub(super) secrets: Vec<Secret>,
}

impl Ended {
    /// Reads everything and removes the step's folder. Blocks.
    pub(super) fn collect(self) -> Collected {
        let mut answer = result::ended(&self.request, &self.outcome);
        let reports = reports::read(&self.request, &self.env, &self.workdir);
        if let Err(reason) = self.take_returned(&mut answer, reports.outputs) {
            tracing::info!(step = self.request.id, reason, "what a step returns");
            if self.succeeded() {
                answer = result::failed(reason);
            }
        }
        if !self.request.log_drone {
            answer.optimization_state = "DISABLED".into();
        }
        let annotations = self.annotations();
        self.folder.remove();
        let epilogue = self.masked(&reports.table);
        Collected {
            end: End { answer, epilogue },
            annotations,
        }
    }

    fn succeeded(&self) -> bool {
        self.outcome.status == StepStatus::Exited { code: 0 }
    }

    /// What the step wants to have shown beside the build, if it went well.
    fn annotations(&self) -> Option<Vec<u8>> {
        if !self.succeeded() || self.request.annotations_config.base_url.is_empty() {
            return None;
        }
        let read = read_file(&self.folder.annotations(), ANNOTATIONS_MAX);
        read.unwrap_or_else(|reason| {
            tracing::warn!(step = self.request.id, reason, "a step's annotations");
            None
        })
    }

    /// Text from the step's files may hold its secrets, as its output may.
    fn masked(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let values = self.secrets.iter().map(Secret::expose);
        match Masker::styled(Style::Incumbent, values) {
            Ok(mut masker) => {
                let mut out = Vec::new();
                masker.push(text.as_bytes(), &mut out);
                masker.finish(&mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            // It was made for the log before; then there is no log either.
            Err(_) => String::new(),
        }
    }

    fn take_returned(&self, answer: &mut PollStepAnswer, totals: Variables) -> Result<(), String> {
        if let Some(artifact) = read_file(&self.folder.artifact(), ARTIFACT_MAX)? {
            answer.artifact = STANDARD.encode(artifact);
        }
        answer.envs = self
            .variables(&self.folder.exports())?
            .into_iter()
            .collect();
        let files = OutputFiles::of(&self.request, &self.folder);
        let mut outputs = self.variables(&files.outputs)?;
        outputs.extend(totals);
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
    let read = regular_file(path, limit);
    read.map_err(|error| format!("read {}: {error}", path.display()))
}
