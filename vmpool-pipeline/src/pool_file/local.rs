//! `type: local`: machines that are processes of the runner's host.

use std::path::PathBuf;

use super::PoolPlatform;
use super::keys::{LOCAL, PLATFORM};
use super::timing::{Timing, timing};
use crate::diagnostic::quoted;
use crate::fields::{At, Reader};

/// The `spec` of `type: local`. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalSpec {
    /// The directory of the machines.
    pub root: Option<PathBuf>,
    /// The command of an agent that speaks the incumbent's protocol, which
    /// `--env-file` and a file follow. Empty: the machines have vmpool's own.
    pub agent: Vec<String>,
}

/// Local machines are this host's, whatever the file says.
pub(super) fn platform(r: &mut Reader, at: &At<'_>) -> Option<PoolPlatform> {
    let fields = r.fields(at, &PLATFORM.keys)?;
    let here = PoolPlatform::here();
    for (key, here) in [("os", &here.os), ("arch", &here.arch)] {
        if let Some(at) = fields.get(key)
            && let Some(found) = r.text(&at)
            && found != *here
        {
            let found = quoted(&found);
            r.error(&at, format!("local machines are {here} here, not {found}"));
        }
    }
    for key in ["variant", "version", "os_name"] {
        fields.read(r, key, |r, at| r.text(at));
    }
    Some(here)
}

pub(super) fn spec(r: &mut Reader, at: &At<'_>) -> Option<(Timing, LocalSpec)> {
    let fields = r.fields(at, &LOCAL.keys)?;
    let spec = LocalSpec {
        root: fields.read(r, "root", directory),
        agent: fields.read(r, "agent", agent).unwrap_or_default(),
    };
    Some((timing(r, &fields), spec))
}

fn agent(r: &mut Reader, at: &At<'_>) -> Option<Vec<String>> {
    let items = r.items(at, "a list of a program and its arguments")?;
    let words: Vec<_> = items.iter().filter_map(|item| r.text(item)).collect();
    if !words
        .first()
        .is_some_and(|program| program.starts_with('/'))
    {
        r.error(
            at,
            "expected the absolute path of a program, and its arguments",
        );
        return None;
    }
    r.warn(
        at,
        "an agent of the incumbent's protocol does less: after its restart its steps are lost \
         with their logs (P4), it may leave processes of a step (P10), shows secrets in logs \
         unless it is lite-engine (P11), obeys whoever has its own key (P12), and outlives its \
         runners",
    );
    Some(words)
}

fn directory(r: &mut Reader, at: &At<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(r.text(at)?);
    if path.is_absolute() {
        return Some(path);
    }
    r.error(at, "expected an absolute path of a directory");
    None
}
