//! `vmpool journal check`: whether a journal is in order, and if not, what is
//! wrong and what to do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::json;

use super::args::CheckArgs;
use super::invariants::{Counts, Invariants};
use super::source::{DAMAGED, Source};
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;
use crate::serve::pools;

/// What helps where rows disagree.
const DISAGREES: &str = "builds go on; keep the output of `vmpool journal export` and report it, \
                         and see what `vmpool explain` tells of what is named here";

pub(super) async fn check(args: &CheckArgs) -> Result<Exit, Stopped> {
    let limits = match &args.pool {
        Some(file) => limits(&pools::read(file)?),
        None => BTreeMap::new(),
    };
    let (source, name) = Source::open(&args.at).await?;
    let damages = match &source {
        Source::File(journal) => journal.damages().await.or_exit(Exit::Failed)?,
        // It checks its own pages as it reads them.
        Source::Database(_) => Vec::new(),
    };
    let mut found = Invariants::default();
    let told = source.tell(|entry| {
        found.hear(&entry);
        Ok::<(), Infallible>(())
    });
    let read = told.await.with_context(|| format!("check {name}"));
    // A damaged file may not be readable to its end; the damage tells why.
    if damages.is_empty() {
        read.or_exit(Exit::Failed)?.or_exit(Exit::Failed)?;
    }
    let (counts, wrong) = found.end(&limits);
    let is_fine = damages.is_empty() && wrong.is_empty();
    say(if args.json {
        told_json(&name, &counts, &damages, &wrong)
    } else {
        told_text(&name, &counts, &damages, &wrong)
    })?;
    Ok(if is_fine { Exit::Success } else { Exit::Failed })
}

fn limits(file: &vmpool_pipeline::PoolFile) -> BTreeMap<String, u32> {
    let pools = file.pools.iter();
    pools.map(|pool| (pool.name.clone(), pool.limit)).collect()
}

fn told_text(name: &str, counts: &Counts, damages: &[String], wrong: &[String]) -> String {
    let mut text = String::new();
    for line in damages {
        let _ = writeln!(text, "damaged: {line}");
    }
    for line in wrong {
        let _ = writeln!(text, "wrong: {line}");
    }
    let what = format!("{name}: {counts}");
    let _ = match (damages.is_empty(), wrong.is_empty()) {
        (true, true) => writeln!(text, "in order: {what}"),
        (false, _) => writeln!(text, "{what}\n{DAMAGED}"),
        (true, false) => writeln!(text, "{what}\n{DISAGREES}"),
    };
    text
}

fn told_json(name: &str, counts: &Counts, damages: &[String], wrong: &[String]) -> String {
    let told = json!({
        "journal": name,
        "in_order": damages.is_empty() && wrong.is_empty(),
        "damaged": damages,
        "wrong": wrong,
        "pools": counts.pools,
        "orders": counts.orders,
        "machines": counts.machines,
        "stages": counts.stages,
        "steps": counts.steps,
        "events": counts.events,
        "slots": counts.slots,
    });
    format!("{told}\n")
}
