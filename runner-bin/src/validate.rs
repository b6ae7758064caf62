//! `vmpool validate`: reads pipeline files and says what is wrong with them,
//! and what a run would not honour. Runs nothing.

use std::fmt::Write as _;
use std::path::Path;

use vmpool_pipeline::{Parsed, Pipeline, Variables};

use crate::cli::ValidateArgs;
use crate::exit::{Exit, Stopped};
use crate::out::{complain, say};
use crate::pipeline_file;
use crate::screen::printable;

/// Checks the files: a line each on standard output, what is wrong on standard error.
pub(crate) fn validate(args: &ValidateArgs) -> Result<Exit, Stopped> {
    let mut exit = Exit::Success;
    for file in &args.files {
        match check(file) {
            Ok(parsed) => {
                for warning in &parsed.warnings {
                    complain(format_args!("warning: {warning}"));
                }
                say(format_args!("{}\n", told(file, &parsed)))?;
            }
            Err(stopped) => {
                stopped.print();
                say(format_args!("{}: refused\n", shown(file)))?;
                exit = Exit::BadInput;
            }
        }
    }
    Ok(exit)
}

/// `${DRONE_…}` is checked as if the build had no value for any of them.
fn check(file: &Path) -> Result<Parsed, Stopped> {
    pipeline_file::read(file, &Variables::new())
}

fn told(file: &Path, parsed: &Parsed) -> String {
    let pipelines = &parsed.file.pipelines;
    let steps: usize = pipelines
        .iter()
        .map(|pipeline| pipeline.tasks().count())
        .sum();
    let images = pipelines
        .iter()
        .flat_map(Pipeline::tasks)
        .filter(|s| s.image.is_some())
        .count();
    let mut line = format!(
        "{}: ok, {}, {}",
        shown(file),
        counted(pipelines.len(), "pipeline"),
        counted(steps, "step")
    );
    if images > 0 {
        let _ = write!(
            line,
            ", {images} of them in containers, which exec can't run yet"
        );
    }
    for passed_over in &parsed.file.passed_over {
        let _ = write!(line, "; passed over: {passed_over}");
    }
    line
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn shown(file: &Path) -> String {
    printable(&file.to_string_lossy())
}
