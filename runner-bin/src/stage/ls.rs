//! `vmpool stage ls`: the stages as they are now.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use vmpool_proto::v1::{Stage, StagesResponse, StepState};

use super::args::LsArgs;
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::pool::{since, table};
use crate::screen::{colours, painted, printable};
use crate::told;

const STAGES: [&str; 6] = ["STAGE", "POOL", "STATE", "FOR", "MACHINE", "STEPS"];

pub(super) async fn ls(args: &LsArgs) -> Result<Exit, Stopped> {
    let source = args.source.open().await?;
    let listed = source.stages(args.pool.as_deref()).await?;
    say(if args.json {
        let listed = told::Stages::from(&listed);
        format!("{}\n", serde_json::json!(listed))
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0);
        text(
            &listed,
            width.filter(|_| io::stdout().is_terminal()),
            colours(),
        )
    })?;
    Ok(Exit::Success)
}

fn text(listed: &StagesResponse, width: Option<u16>, colours: bool) -> String {
    if listed.stages.is_empty() {
        return "no stages: nothing runs and nothing waits\n".to_owned();
    }
    let now = listed.at_unix_ms;
    let rows = listed.stages.iter().map(|stage| {
        [
            printable(&stage.id),
            printable(&stage.pool),
            stage.state.clone(),
            since(now, stage.since_unix_ms),
            printable(&stage.machine_id),
            steps(stage),
        ]
    });
    let table = table(STAGES, rows, width).trim_fmt();
    let table = if colours { painted(&table) } else { table };
    format!("{table}\n")
}

/// `build runs; 2 ended, 1 of them not well`.
fn steps(stage: &Stage) -> String {
    let runs = |step: &&StepState| step.state == "running";
    let running: Vec<_> = stage.steps.iter().filter(runs).collect();
    let ended = stage.steps.len() - running.len();
    let mut told = String::new();
    if !running.is_empty() {
        let names: Vec<_> = running.iter().map(|step| printable(&step.id)).collect();
        let verb = if names.len() == 1 { "runs" } else { "run" };
        let _ = write!(told, "{} {verb}", names.join(", "));
    }
    if ended > 0 {
        let failed = |step: &&StepState| !runs(step) && step.code != Some(0);
        let failed = stage.steps.iter().filter(failed).count();
        let separator = if told.is_empty() { "" } else { "; " };
        let _ = write!(told, "{separator}{ended} ended");
        if failed > 0 {
            let _ = write!(told, ", {failed} of them not well");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_runs_and_what_ended() {
        let step = |id: &str, state: &str, code| StepState {
            id: id.to_owned(),
            state: state.to_owned(),
            code,
            ..StepState::default()
        };
        let stage = |id: &str, state: &str, steps| Stage {
            id: id.to_owned(),
            pool: "linux".to_owned(),
            state: state.to_owned(),
            since_unix_ms: 40_000,
            steps,
            ..Stage::default()
        };
        let listed = StagesResponse {
            at_unix_ms: 47_000,
            stages: vec![
                stage(
                    "S1",
                    "prepared",
                    vec![
                        step("clone", "exited", Some(0)),
                        step("lint", "exited", Some(1)),
                        step("build", "running", None),
                    ],
                ),
                stage("S2\u{1b}[2J", "waiting", Vec::new()),
            ],
        };
        insta::assert_snapshot!(text(&listed, None, false), @r"
        STAGE        POOL   STATE     FOR  MACHINE  STEPS
        S1           linux  prepared  7 s           build runs; 2 ended, 1 of them not well
        S2\u{1b}[2J  linux  waiting   7 s
        ");
        assert!(text(&listed, None, true).contains("\u{1b}[32mprepared\u{1b}[0m"));
        assert!(text(&StagesResponse::default(), None, false).starts_with("no stages"));
    }
}
