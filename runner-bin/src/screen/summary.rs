//! The table at the end of a run: every step with its machine, its waiting and
//! running time and its result; then each pipeline's end and how long its
//! machine took to be acquired.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

use super::text::{Prefixes, human, printable, told_shortly, whole_reason, word};
use crate::exec::events::{Outcome, PlannedPipeline};
use crate::exec::summary::{PipelineSummary, StepSummary, Summary};

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// The table, for a screen that is `width` columns wide.
pub(super) fn table(summary: &Summary, width: Option<u16>) -> String {
    let mut out = String::from("\n");
    let steps = summary
        .pipelines
        .iter()
        .map(|pipeline| pipeline.steps.len())
        .sum::<usize>();
    if steps > 0 {
        let _ = writeln!(out, "{}\n", steps_table(summary, width).trim_fmt());
    }
    for pipeline in &summary.pipelines {
        let _ = writeln!(out, "{}", pipeline_line(pipeline));
    }
    let word = match summary.result {
        Outcome::Cancelled => "interrupted",
        result => word(result),
    };
    let _ = write!(out, "{word} in {}", human(summary.elapsed));
    if let Some(warmed) = summary.warmed {
        let _ = write!(out, ", the pool was warm after {}", human(warmed));
    }
    out.push('\n');
    out
}

fn steps_table(summary: &Summary, width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(["STEP", "MACHINE", "WAIT", "RUN", "RESULT"]);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    let prefixes = Prefixes::new(
        &summary
            .pipelines
            .iter()
            .map(|pipeline| PlannedPipeline {
                name: pipeline.name.clone(),
                steps: Vec::new(),
            })
            .collect::<Vec<_>>(),
    );
    for pipeline in &summary.pipelines {
        for step in &pipeline.steps {
            table.add_row(row(&prefixes, pipeline, step));
        }
    }
    table
}

fn row(prefixes: &Prefixes, pipeline: &PipelineSummary, step: &StepSummary) -> [String; 5] {
    let name = prefixes.of(&pipeline.name, &step.name);
    let machine = pipeline
        .machine
        .as_ref()
        .map(|machine| printable(&machine.id));
    if step.end.result == Outcome::Skipped || machine.is_none() {
        return [
            name,
            String::new(),
            String::new(),
            String::new(),
            told_shortly(&step.end),
        ];
    }
    [
        name,
        machine.unwrap_or_default(),
        human(step.waited),
        human(step.ran),
        told_shortly(&step.end),
    ]
}

fn pipeline_line(pipeline: &PipelineSummary) -> String {
    let mut line = format!(
        "{}: {}",
        printable(pipeline.name.as_str()),
        word(pipeline.end.result)
    );
    if let Some(machine) = &pipeline.machine {
        let _ = write!(
            line,
            " on machine {}, acquired in {}{}",
            printable(&machine.id),
            human(machine.acquired),
            if machine.warm { ", warm" } else { "" }
        );
    }
    if let Some(reason) = whole_reason(&pipeline.end) {
        let _ = write!(line, ": {reason}");
    }
    line
}
