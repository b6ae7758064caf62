//! `vmpool explain`: what happened to a stage, a machine, an order or a request,
//! and why, as the journal of a state directory has it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueHint};
use jiff::Timestamp as Moment;
use serde_json::json;
use vmpool_core::Clock;
use vmpool_core::explain::{ExplainError, Story, explain as tell};
use vmpool_store::SqliteJournal;

use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;
use crate::screen::{human, printable};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool explain --state /var/lib/vmpool 17                       a stage, by its id
  vmpool explain --state /var/lib/vmpool local-47c037a2e0f7e9a2   a machine

Exit codes: 0 it is told; 1 the journal can't be read; 2 bad input, or nothing of that id is known";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The id of a stage, a machine, an order or a request that waits
    pub(crate) id: String,

    /// Where the runner's journal is; it is only read, also while the runner works
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Opens the journal of a state directory for reading.
fn journal(state: &Path) -> Result<SqliteJournal, Stopped> {
    SqliteJournal::open_read_only(state.join("vmpool.db"))
        .with_context(|| format!("read the journal in {}", state.display()))
        .or_exit(Exit::BadInput)
}

/// Runs the command.
pub(crate) async fn explain(args: &ExplainArgs) -> Result<Exit, Stopped> {
    let journal = journal(&args.state)?;
    let story = tell(&journal, &args.id, Clock::system().now(), &[]).await;
    let story = story.map_err(|error| {
        let exit = match error {
            ExplainError::Journal { .. } => Exit::Failed,
            _ => Exit::BadInput,
        };
        Stopped {
            exit,
            error: error.into(),
        }
    })?;
    say(if args.json {
        json(&story)
    } else {
        text(&story)
    })?;
    Ok(Exit::Success)
}

fn text(story: &Story) -> String {
    let mut out = format!("{}\n\n", printable(&story.summary));
    for moment in &story.moments {
        let _ = writeln!(
            out,
            "{}  {} {}: {}",
            when(moment.at.0),
            printable(&moment.of),
            printable(&moment.what),
            printable(&moment.cause)
        );
    }
    if !story.phases.is_empty() {
        out.push('\n');
    }
    for phase in &story.phases {
        let open = if phase.over { "" } else { " so far" };
        let _ = writeln!(
            out,
            "{}: {}{open}",
            printable(&phase.name),
            human(phase.took)
        );
    }
    out
}

/// A moment in UTC, to the millisecond.
fn when(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).map(Moment::from_millisecond);
    match moment {
        Ok(Ok(moment)) => format!("{moment:.3}"),
        _ => "never".to_owned(),
    }
}

fn json(story: &Story) -> String {
    let moments: Vec<_> = story
        .moments
        .iter()
        .map(|moment| {
            json!({
                "at_unix_ms": moment.at,
                "of": moment.of,
                "what": moment.what,
                "cause": moment.cause,
            })
        })
        .collect();
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let phases: Vec<_> = story
        .phases
        .iter()
        .map(|phase| {
            json!({
                "name": phase.name,
                "since_unix_ms": phase.since,
                "took_ms": millis(phase.took),
                "over": phase.over,
            })
        })
        .collect();
    let whole = json!({
        "subject": story.subject,
        "kind": story.kind.as_str(),
        "summary": story.summary,
        "moments": moments,
        "phases": phases,
    });
    format!("{whole}\n")
}
