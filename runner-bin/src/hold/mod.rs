//! `vmpool hold`: a stage's machine is kept after the stage's end, and what
//! that costs and how to reach it is told.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use vmpool_proto::v1::{HoldRequest, HoldResponse, MachineHold, ReleaseHoldRequest};

use crate::client::{RunnerArgs, Word};
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::screen::{human, printable, when};
use crate::told;

const EXAMPLES: &str = "\
Examples:
  vmpool hold 17 --for 2h --why 'the database does not start'
  vmpool hold 17 --for 4h             longer: from now, where the stage has ended
  vmpool hold 17 --release            end it now

Exit codes: 0 it is done, durably; 1 its machine is ending already; 2 bad input, no such stage, \
or longer than the machine may be there; 4 no runner reachable, or none has the pool";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldArgs {
    /// The stage
    pub(crate) stage: String,

    /// How long after the stage's end, like 90s, 30m or 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = vmpool_pipeline::parse_duration,
        required_unless_present = "release")]
    pub(crate) lasts: Option<Duration>,

    /// Keep it no longer
    #[arg(long, conflicts_with_all = ["lasts", "why", "by", "json"])]
    pub(crate) release: bool,

    #[command(flatten)]
    pub(crate) word: Word,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) runner: RunnerArgs,
}

/// Runs the command.
pub(crate) async fn hold(args: &HoldArgs) -> Result<Exit, Stopped> {
    let runner = args.runner.open().await?;
    let stage = printable(&args.stage);
    let Some(lasts) = args.lasts else {
        let request = ReleaseHoldRequest {
            stage_id: args.stage.clone(),
        };
        runner.release_hold(request).await?;
        say(format_args!(
            "the machine of stage {stage} is not kept any more\n"
        ))?;
        return Ok(Exit::Success);
    };
    let request = HoldRequest {
        stage_id: args.stage.clone(),
        lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        by: args.word.by(),
        why: args.word.why.clone(),
    };
    let held = runner.hold(request).await?;
    say(if args.json {
        format!("{}\n", serde_json::json!(told::Held::from(&held)))
    } else {
        text(&stage, &held)
    })?;
    Ok(Exit::Success)
}

fn text(stage: &str, held: &HoldResponse) -> String {
    let (id, pool) = (printable(&held.machine_id), printable(&held.pool));
    let hold = held.hold.clone().unwrap_or_default();
    let span = Duration::from_millis(hold.lasts_ms);
    let (lasts, hours) = (human(span), span.as_secs_f64() / 3600.0);
    let mut out = match hold {
        MachineHold {
            until_unix_ms: 0, ..
        } => format!("machine {id} is kept for {lasts} after the end of stage {stage}\n"),
        MachineHold { until_unix_ms, .. } => {
            let until = when(until_unix_ms, 0);
            format!("machine {id} of stage {stage} is kept until {until}\n")
        }
    };
    let price = match held.dollars_an_hour {
        Some(price) => format!("at ${price:.4} an hour now, ${:.2}", price * hours),
        None => "at a price that is not known here".to_owned(),
    };
    let _ = writeln!(
        out,
        "it costs {lasts} of a machine, {price}, and one slot of pool {pool} for as long"
    );
    let address = printable(&held.address);
    let _ = match (id.starts_with("i-"), address.is_empty()) {
        (true, _) => writeln!(
            out,
            "reach it at {address}, or by: aws ssm start-session --target {id}"
        ),
        (false, false) => writeln!(out, "reach it at {address}"),
        (false, true) => writeln!(out, "where it is reached is not known"),
    };
    let _ = writeln!(out, "end it sooner by: vmpool hold {stage} --release");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_and_how_it_is_reached_is_told() {
        let mut held = HoldResponse {
            machine_id: "i-07".to_owned(),
            pool: "linux".to_owned(),
            address: "10.0.0.7".to_owned(),
            hold: Some(MachineHold {
                lasts_ms: 7_200_000,
                ..MachineHold::default()
            }),
            ..HoldResponse::default()
        };
        insta::assert_snapshot!(text("17", &held), @r"
        machine i-07 is kept for 2 h 00 m after the end of stage 17
        it costs 2 h 00 m of a machine, at a price that is not known here, and one slot of pool linux for as long
        reach it at 10.0.0.7, or by: aws ssm start-session --target i-07
        end it sooner by: vmpool hold 17 --release
        ");
        held.dollars_an_hour = Some(0.0301);
        assert_eq!(
            text("17", &held).lines().nth(1),
            Some(
                "it costs 2 h 00 m of a machine, at $0.0301 an hour now, $0.06, and one slot of \
                 pool linux for as long"
            )
        );
        held.dollars_an_hour = None;
        held.machine_id = "local-07".to_owned();
        held.address = "127.0.0.1".to_owned();
        held.hold.get_or_insert_default().until_unix_ms = 1_800_000_000_000;
        insta::assert_snapshot!(text("17", &held), @r"
        machine local-07 of stage 17 is kept until 2027-01-15T08:00:00Z
        it costs 2 h 00 m of a machine, at a price that is not known here, and one slot of pool linux for as long
        reach it at 127.0.0.1
        end it sooner by: vmpool hold 17 --release
        ");
    }
}
