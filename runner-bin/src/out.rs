//! Standard output and standard error of commands that have no screen. Either
//! may be closed: that ends a command at most, and is never a panic.

use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::exit::{Exit, OrExit as _, Stopped};

/// Writes `text` to standard output.
///
/// # Errors
/// It is closed, or full.
pub(crate) fn say(text: impl Display) -> Result<(), Stopped> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")
        .and_then(|()| out.flush())
        .context("write to standard output")
        .or_exit(Exit::Failed)
}

/// Writes a line to standard error, if there is one.
pub(crate) fn complain(line: impl Display) {
    // There is nobody left to tell that it failed.
    let _ = writeln!(io::stderr(), "{line}");
}
