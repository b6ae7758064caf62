//! Reads the files that people write: pipelines for `exec` and `validate`, and
//! the text of a pool file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use vmpool_pipeline::{Dialect, Parsed, Variables, parse};

use crate::exit::{Exit, OrExit as _, Stopped};

/// Reads the file at `path`; `variables` are the build's.
///
/// # Errors
/// It can't be read, or is [`Rejected`](vmpool_pipeline::Rejected).
pub(crate) fn read(path: &Path, variables: &Variables) -> Result<Parsed, Stopped> {
    let text = text(path).or_exit(Exit::BadInput)?;
    let name = path.to_string_lossy();
    parse(&name, &text, Dialect::of(&name), variables).or_exit(Exit::BadInput)
}

/// The text of the file at `path`.
///
/// # Errors
/// It can't be read, or is not UTF-8.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        anyhow!("{}:{line}: not UTF-8", path.display())
    })
}
