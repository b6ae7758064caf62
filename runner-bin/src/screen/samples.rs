//! A run's events, for the tests of screens and of the events' documentation.

use std::time::Duration;

use crate::exec::events::{Ended, Event, LogLine, Outcome, PlannedPipeline};
use crate::exec::lines::{End, Piece};
use crate::exec::name::Name;
use crate::exec::summary::{MachineSummary, PipelineSummary, StepSummary, Summary};

/// Every kind of event, each with when it happened.
pub(crate) fn run() -> Vec<(Duration, Event)> {
    let (hello, build, check) = (
        Name::from("hello"),
        Name::from("build"),
        Name::from("check"),
    );
    let log = |step: &Name, text: &str, end: End| {
        let piece = Piece {
            bytes: text.into(),
            end,
        };
        Event::Log(LogLine::new(&hello, step, piece))
    };
    let failed = Ended {
        exit_code: Some(7),
        ..Ended::because(Outcome::Failure, "exit code 7")
    };
    let succeeded = Ended {
        exit_code: Some(0),
        ..Ended::success()
    };
    let skipped = Ended::because(Outcome::Skipped, "interrupted");
    let ended = Ended::because(Outcome::Failure, "step check failed: exit code 7");
    let started = |step: &Name| Event::StepStarted {
        pipeline: hello.clone(),
        step: step.clone(),
    };
    let step_ended = |step: &Name, end: &Ended, ran| Event::StepEnded {
        pipeline: hello.clone(),
        step: step.clone(),
        end: end.clone(),
        ran: Duration::from_millis(ran),
    };
    let step = |name: &Name, end: &Ended, waited, ran| StepSummary {
        name: name.clone(),
        end: end.clone(),
        waited: Duration::from_millis(waited),
        ran: Duration::from_millis(ran),
    };
    let acquired = Duration::from_micros(213);
    let machine = "local-62203b500966d87d".to_owned();
    let summary = Summary::of(
        vec![PipelineSummary {
            name: hello.clone(),
            end: ended.clone(),
            machine: Some(MachineSummary {
                id: machine.clone(),
                acquired,
                warm: true,
            }),
            steps: vec![
                step(&build, &succeeded, 320, 1250),
                step(&check, &failed, 0, 40),
                step(&"publish".into(), &skipped, 0, 0),
            ],
        }],
        Duration::from_millis(1700),
        Some(Duration::from_millis(310)),
        false,
    );
    let planned = PlannedPipeline {
        name: hello.clone(),
        steps: vec![build.clone(), check.clone(), "publish".into()],
    };
    [
        (
            0,
            Event::Warning {
                message: "hello.yml:3:1: steps[0]: unknown key `comands`".into(),
            },
        ),
        (
            0,
            Event::Started {
                file: "hello.yml".into(),
                jobs: 1,
                pipelines: vec![planned],
            },
        ),
        (
            30,
            Event::Warming {
                ready: 0,
                wanted: 1,
            },
        ),
        (
            310,
            Event::Warming {
                ready: 1,
                wanted: 1,
            },
        ),
        (
            311,
            Event::Acquired {
                pipeline: hello.clone(),
                machine,
                took: acquired,
                warm: true,
            },
        ),
        (320, started(&build)),
        (330, log(&build, "+ make", End::Newline)),
        (900, log(&build, "50%", End::Return)),
        (1500, log(&build, "no line feed", End::Open)),
        (1570, step_ended(&build, &succeeded, 1250)),
        (1570, started(&check)),
        (1580, log(&check, "caf\u{e9}", End::ReturnNewline)),
        (1610, step_ended(&check, &failed, 40)),
        (1611, Event::Interrupted { signal: "SIGINT" }),
        (1611, step_ended(&"publish".into(), &skipped, 0)),
        (
            1650,
            Event::PipelineEnded {
                pipeline: hello.clone(),
                end: ended,
            },
        ),
        (1700, Event::Summary(summary)),
    ]
    .map(|(at, event)| (Duration::from_millis(at), event))
    .into()
}
