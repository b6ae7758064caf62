//! `vmpool logs`: what a step has printed, and what it prints.
//!
//! Every byte is written once, in its order: a runner that hands over is asked
//! again for what is missing, from the offset that was reached.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use vmpool_proto::v1::{LogPart, LogRequest};

use crate::client::{RunnerArgs, RunnerSource};
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::interrupt::Signals;

const EXAMPLES: &str = "\
Examples:
  vmpool logs 17 build                what step build of stage 17 has printed so far
  vmpool logs -f 17 build             and what it prints, until it ends
  vmpool logs -f 17 build --offset 4096 >> build.log

The step may be one that was not asked for yet: with -f it is waited for. What is shown is as the \
step printed it, but for secrets. --json prints {\"offset\", \"text\"} a line, at last \
{\"offset\", \"over\"}.

Exit codes: 0 it is shown; 2 bad input, or no such stage or step; 4 no runner reachable; 130 \
interrupted";

/// A runner that is gone is looked for so long.
const LOOKING: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The stage
    pub(crate) stage: String,

    /// The step
    pub(crate) step: String,

    /// Go on until the step has ended
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Begin at this byte
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) offset: u64,

    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) runner: RunnerArgs,
}

/// Runs the command.
pub(crate) async fn logs(args: &LogsArgs) -> Result<Exit, Stopped> {
    let runner = args.runner.open().await?;
    let mut signals = Signals::catch().or_exit(Exit::Failed)?;
    let mut shown = Shown {
        offset: args.offset,
        json: args.json,
    };
    tokio::select! {
        _ = signals.next() => Ok(Exit::Interrupted),
        shown = show(args, &runner, &mut shown) => shown,
    }
}

async fn show(args: &LogsArgs, runner: &RunnerSource, shown: &mut Shown) -> Result<Exit, Stopped> {
    let mut until = Instant::now() + LOOKING;
    loop {
        let request = LogRequest {
            stage_id: args.stage.clone(),
            step_id: args.step.clone(),
            offset: shown.offset,
            follow: args.follow,
        };
        let broken = match runner.log(request).await {
            Ok(mut parts) => loop {
                match parts.message().await {
                    Ok(Some(part)) => {
                        shown.show(&part).or_exit(Exit::Failed)?;
                        if part.data.is_empty() {
                            return Ok(Exit::Success);
                        }
                        until = Instant::now() + LOOKING;
                    }
                    Ok(None) => break Status::unavailable("its answer broke off"),
                    Err(status) => break status,
                }
            },
            Err(status) => status,
        };
        // Whoever takes the runner's place listens at the same address.
        let passes = matches!(broken.code(), Code::Unavailable | Code::Unknown);
        if !passes || Instant::now() >= until {
            return Err(runner.refused(&broken));
        }
        sleep(PAUSE).await;
    }
}

/// What is on standard output already.
struct Shown {
    offset: u64,
    json: bool,
}

impl Shown {
    fn show(&mut self, part: &LogPart) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            let line = if part.data.is_empty() {
                json!({ "offset": part.offset, "over": part.over })
            } else {
                let text = String::from_utf8_lossy(&part.data);
                json!({ "offset": part.offset, "text": text })
            };
            writeln!(out, "{line}")
        } else {
            out.write_all(&part.data)
        };
        written
            .and_then(|()| out.flush())
            .context("write to standard output")?;
        self.offset = part.offset + part.data.len() as u64;
        Ok(())
    }
}
