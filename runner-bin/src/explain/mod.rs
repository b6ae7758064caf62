//! `vmpool explain`: what happened to a stage, a machine, an order or a request,
//! and why, as a runner or its journal has it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use vmpool_proto::v1::{ExplainResponse, Moment};

use crate::client::{RULE, SourceArgs};
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::screen::{human, printable, when};
use crate::told;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  vmpool explain 17                                       a stage, by its id
  vmpool explain local-47c037a2e0f7e9a2                   a machine
  vmpool explain 17 --state /var/lib/vmpool --json        also where no runner runs

Exit codes: 0 it is told; 1 the journal can't be read; 2 bad input, or nothing of that id is \
known; 4 no runner reachable";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{RULE}"))]
pub(crate) struct ExplainArgs {
    /// The id of a stage, a machine, an order or a request that waits
    pub(crate) id: String,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Runs the command.
pub(crate) async fn explain(args: &ExplainArgs) -> Result<Exit, Stopped> {
    let source = args.source.open().await?;
    let story = source.explain(&args.id).await?;
    say(if args.json {
        json(&story)
    } else {
        text(&story)
    })?;
    Ok(Exit::Success)
}

fn text(story: &ExplainResponse) -> String {
    let mut out = format!("{}\n", printable(&story.summary));
    if !story.moments.is_empty() {
        out.push_str("\nwhat happened\n");
    }
    let widest = |text: fn(&Moment) -> &str| {
        let widths = story
            .moments
            .iter()
            .map(|m| printable(text(m)).chars().count());
        widths.max().unwrap_or(0)
    };
    let (of, what) = (widest(|moment| &moment.of), widest(|moment| &moment.what));
    for moment in &story.moments {
        let _ = writeln!(
            out,
            "  {}  {:of$}  {:what$}  {}",
            when(moment.at_unix_ms, 3),
            printable(&moment.of),
            printable(&moment.what),
            cause(&moment.cause)
        );
    }
    if !story.phases.is_empty() {
        out.push_str("\nwhat the time went to\n");
    }
    let names = story.phases.iter().map(|phase| phase.name.chars().count());
    let name = names.max().unwrap_or(0);
    for phase in &story.phases {
        let open = if phase.over { "" } else { " so far" };
        let took = human(Duration::from_millis(phase.took_ms));
        let _ = writeln!(out, "  {:name$}  {took}{open}", printable(&phase.name));
    }
    out
}

/// Further lines (a console's last words) are indented below the first.
fn cause(cause: &str) -> String {
    let lines: Vec<_> = cause.lines().map(printable).collect();
    lines.join("\n      ")
}

fn json(story: &ExplainResponse) -> String {
    format!("{}\n", json!(told::Story::from(story)))
}
