//! A file's text to the model: the one way in.
//!
//! In this order: the size, the substitutions, the YAML, each document by its
//! `kind` and `type`, and what holds between pipelines. All mistakes of a file
//! are found in one go, YAML's own excepted.

use std::collections::BTreeMap;

use crate::check::{self, Declared, Dependency};
use crate::convert;
use crate::diagnostic::{Diagnostic, Place, Rejected, Report, did_you_mean, nearest, quoted};
use crate::fields::{At, Reader};
use crate::model::{File, PassedOver, Pipeline, PipelineType};
use crate::substitute::{Masked, Substitution, Variables, mask};
use crate::yaml::{self, Duplicates, Node, Value};

/// Whose format a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `.vmpool.yml`: Drone's format and `timeout`; what is unknown is an error.
    Vmpool,
    /// Drone's; what is unknown is a warning.
    Drone,
}

impl Dialect {
    /// The dialect of a file with this name: ours where the name ends in
    /// `.vmpool.yml` or `.vmpool.yaml`, else Drone's.
    pub fn of(name: &str) -> Self {
        if name.ends_with(".vmpool.yml") || name.ends_with(".vmpool.yaml") {
            Self::Vmpool
        } else {
            Self::Drone
        }
    }
}

/// What a file says, and what was noticed.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The pipelines.
    pub file: File,
    /// What has no effect, and what may not mean what it seems to.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the text of a pipeline file. `name` is what diagnostics call the file;
/// `variables` are the build's, for `${DRONE_…}` (see
/// [`build_variables`](crate::build_variables)).
///
/// # Errors
///
/// [`Rejected`] holds every mistake with its place. A hostile file is refused
/// too, and soon: size, nesting, aliases and substitutions are bounded.
pub fn parse(
    name: &str,
    text: &str,
    dialect: Dialect,
    variables: &Variables,
) -> Result<Parsed, Rejected> {
    let mut reader = Reader {
        report: Report::new(name),
        dialect,
    };
    let file = file(&mut reader, name, text, variables);
    let (file, warnings) = reader.report.end(file)?;
    Ok(Parsed { file, warnings })
}

/// The programs that generate pipeline files, by the ending of the name.
const GENERATORS: [(&str, &str); 4] = [
    (".jsonnet", "Jsonnet"),
    (".libsonnet", "Jsonnet"),
    (".star", "Starlark"),
    (".starlark", "Starlark"),
];

fn file(r: &mut Reader, name: &str, text: &str, variables: &Variables) -> Option<File> {
    if let Some((_, language)) = GENERATORS.iter().find(|(ending, _)| name.ends_with(ending)) {
        let message = format!("{language} is a program, not YAML; give the YAML that it generates");
        r.report.error(Place::UNKNOWN, "", message);
        return None;
    }
    if text.len() > yaml::MAX_BYTES {
        r.report
            .error(Place::UNKNOWN, "", "the file is larger than 1 MiB");
        return None;
    }
    let Ok(masked) = mask(text) else {
        r.report
            .error(Place::UNKNOWN, "", "the file has too many substitutions");
        return None;
    };
    let documents = documents(r, &masked)?;
    let mut substitution = Substitution::new(&masked);
    let mut build = Documents::default();
    for mut node in documents {
        let variables = with_stage(variables, &masked, &node);
        substitution.resolve(&mut node, &variables, &mut r.report);
        build.document(
            r,
            &At {
                node: &node,
                path: String::new(),
            },
        );
    }
    Some(build.file(r))
}

fn documents(r: &mut Reader, masked: &Masked) -> Option<Vec<Node>> {
    let refused = match yaml::documents(&masked.text, Duplicates::Refuse) {
        Ok(documents) => return Some(documents),
        Err(refused) => refused,
    };
    let message = masked.unmask(&refused.message);
    if refused.duplicate_key && r.dialect == Dialect::Drone {
        // Drone lets the last one win, so a file that works there has to here.
        if let Ok(documents) = yaml::documents(&masked.text, Duplicates::LastWins) {
            r.report
                .warn(refused.place, "", message + "; the last one counts");
            return Some(documents);
        }
    }
    r.report.error(refused.place, "", message);
    None
}

/// The variables of the build and those of the document's own stage, as far as
/// it states them.
fn with_stage(variables: &Variables, masked: &Masked, node: &Node) -> Variables {
    let mut variables = variables.clone();
    for (name, path) in [
        ("DRONE_STAGE_KIND", &["kind"][..]),
        ("DRONE_STAGE_TYPE", &["type"]),
        ("DRONE_STAGE_NAME", &["name"]),
        ("DRONE_STAGE_OS", &["platform", "os"]),
        ("DRONE_STAGE_ARCH", &["platform", "arch"]),
        ("DRONE_STAGE_VARIANT", &["platform", "variant"]),
        ("DRONE_STAGE_VERSION", &["platform", "version"]),
    ] {
        let found = path.iter().try_fold(node, |node, key| node.get(key));
        match found.map(|node| &node.value) {
            Some(Value::Scalar(_, text)) if masked.is_plain(text) => {
                variables.insert(name.into(), text.clone());
            }
            _ => {}
        }
    }
    variables
}

/// The kinds of document that Drone has besides pipelines.
const OTHER_KINDS: [&str; 5] = ["secret", "signature", "cron", "registry", "template"];
const TYPES: [(&str, PipelineType); 4] = [
    ("vm", PipelineType::Vm),
    ("aws", PipelineType::Aws),
    ("exec", PipelineType::Exec),
    ("docker", PipelineType::Docker),
];

/// The file's documents as they are read.
#[derive(Debug, Default)]
struct Documents {
    pipelines: Vec<(Pipeline, Declared)>,
    passed_over: Vec<PassedOver>,
    /// By name, the pipelines that are passed over and what they depend on.
    skipped: BTreeMap<String, Vec<Dependency>>,
}

impl Documents {
    fn document(&mut self, r: &mut Reader, at: &At<'_>) {
        if !matches!(at.node.value, Value::Map(_)) {
            let found = at.node.value.noun();
            r.error(
                at,
                format!("expected a map with `kind: pipeline`, found {found}"),
            );
            return;
        }
        let Some(kind) = word(at, "kind") else {
            if let Some(kind) = at.node.get("kind") {
                let found = kind.value.noun();
                r.report.error(
                    kind.place,
                    "kind",
                    format!("expected a string, found {found}"),
                );
            } else if at.node.get("pipeline").is_some() {
                r.error(
                    at,
                    "this is the format of Drone 0.8; `drone convert` makes the present one of it",
                );
            } else if at.node.get("steps").is_some() {
                r.object(at, "`kind: pipeline` is missing");
                self.pipeline(r, at);
            } else {
                r.error(at, "`kind` is missing");
            }
            return;
        };
        if kind == "pipeline" {
            self.pipeline(r, at);
            return;
        }
        if !OTHER_KINDS.contains(&kind.as_str()) {
            let meant = nearest(&kind, OTHER_KINDS.into_iter().chain(["pipeline"]));
            let message = format!("unknown kind {}{}", quoted(&kind), did_you_mean(meant));
            r.object(at, message);
        }
        let name = word(at, "name");
        self.passed_over.push(PassedOver {
            kind,
            pipeline_type: None,
            name,
            place: at.node.place,
        });
    }

    fn pipeline(&mut self, r: &mut Reader, at: &At<'_>) {
        let written = word(at, "type");
        let known = TYPES
            .iter()
            .find(|(name, _)| Some(*name) == written.as_deref());
        if let (Some(written), None) = (&written, known) {
            r.warn(
                at,
                format!(
                    "a pipeline of type {} is not run here, only vm, aws, exec and docker",
                    quoted(written)
                ),
            );
            let name = word(at, "name").unwrap_or_else(|| "default".into());
            let depends_on = at.node.get("depends_on").map(|node| At {
                node,
                path: "depends_on".into(),
            });
            let depends_on = depends_on.and_then(|at| convert::dependencies(r, &at));
            self.skipped
                .insert(name.clone(), depends_on.unwrap_or_default());
            self.passed_over.push(PassedOver {
                kind: "pipeline".into(),
                pipeline_type: Some(written.clone()),
                name: Some(name),
                place: at.node.place,
            });
            return;
        }
        let pipeline_type = known.map(|&(_, pipeline_type)| pipeline_type);
        self.pipelines
            .extend(convert::pipeline(r, at, pipeline_type));
    }

    /// The file, after a look at what holds between its pipelines.
    fn file(mut self, r: &mut Reader) -> File {
        for (pipeline, declared) in &mut self.pipelines {
            declared.depends_on = past(&self.skipped, std::mem::take(&mut declared.depends_on));
            pipeline.depends_on = check::names(&declared.depends_on);
        }
        let (pipelines, declared): (Vec<_>, Vec<_>) = self.pipelines.into_iter().unzip();
        check::check(&mut r.report, "pipeline", &declared, &[]);
        if pipelines.is_empty() && r.report.errors.is_empty() {
            let message = match self.passed_over.first() {
                None => "the file has no pipeline".into(),
                Some(first) => format!("the file has no pipeline that is run here, only: {first}"),
            };
            r.report.error(Place::UNKNOWN, "", message);
        }
        File {
            pipelines,
            passed_over: self.passed_over,
        }
    }
}

/// `depends_on` without the pipelines that are passed over: who waits for one
/// waits for what that one would have waited for.
fn past(
    skipped: &BTreeMap<String, Vec<Dependency>>,
    depends_on: Vec<Dependency>,
) -> Vec<Dependency> {
    let mut left: Vec<Dependency> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut open = depends_on;
    open.reverse();
    while let Some(next) = open.pop() {
        if !seen.insert(next.name.clone()) {
            continue;
        }
        match skipped.get(&next.name) {
            Some(before) => open.extend(before.iter().cloned()),
            None => left.push(next),
        }
    }
    left
}

/// The scalar that the document has under `key`.
fn word(at: &At<'_>, key: &str) -> Option<String> {
    match &at.node.get(key)?.value {
        Value::Scalar(_, text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
