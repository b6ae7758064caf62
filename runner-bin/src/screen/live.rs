//! The live view on a terminal: at the bottom a line a step with its state and
//! running time, above it the steps' output as it comes.
//!
//! What a step writes over itself (a progress bar's carriage returns) is shown
//! behind its running time; only the last of it goes into the output above.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use terminal_size::{Height, Width, terminal_size};

use super::plain::{interrupted, started};
use super::text::{Prefixes, for_terminal, human, printable, told, told_shortly};
use super::{Screen, summary};
use crate::exec::events::{Ended, Event, LogLine, Outcome, PlannedPipeline};
use crate::exec::lines::End;
use crate::exec::name::Name;

/// How often running times are drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Lines of the terminal that stay free for the steps' output.
const OUTPUT_ROWS: usize = 8;

/// Draws to the terminal that standard output is; logs go to `out`, which is the same.
pub(super) struct Live<W, E> {
    out: W,
    err: E,
    bars: MultiProgress,
    styles: Styles,
    prefixes: Prefixes,
    warming: Option<ProgressBar>,
    steps: HashMap<(Name, Name), Line>,
    /// Steps whose end is still shown, the earliest first.
    over: Vec<(Name, Name)>,
    /// Most steps that have a line.
    room: usize,
    /// Output that waits for the next flush.
    waiting: String,
    warnings: String,
}

/// A step's line.
struct Line {
    bar: ProgressBar,
    /// What was last written to be written over.
    overwritten: Option<Vec<u8>>,
}

struct Styles {
    waiting: ProgressStyle,
    running: ProgressStyle,
    ended: ProgressStyle,
}

impl Styles {
    fn new() -> Self {
        let style = |template: &str| {
            ProgressStyle::with_template(template).expect("the template is a constant that parses")
        };
        let ran = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            let _ = to.write_str(&human(state.elapsed()));
        };
        Self {
            waiting: style("{prefix:.dim}"),
            running: style("{spinner:.cyan} {prefix:.bold} {ran} {wide_msg:.dim}")
                .with_key("ran", ran)
                .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "),
            ended: style("{prefix} {wide_msg}"),
        }
    }
}

impl<W: Write, E: Write> Live<W, E> {
    pub(super) fn new(out: W, err: E) -> Self {
        Self {
            out,
            err,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            styles: Styles::new(),
            prefixes: Prefixes::default(),
            warming: None,
            steps: HashMap::new(),
            over: Vec::new(),
            room: 0,
            waiting: String::new(),
            warnings: String::new(),
        }
    }

    fn started(&mut self, pipelines: &[PlannedPipeline]) {
        self.prefixes = Prefixes::new(pipelines);
        let rows = terminal_size().map_or(24, |(_, Height(rows))| usize::from(rows));
        self.room = rows.saturating_sub(OUTPUT_ROWS).max(1);
        let steps = pipelines
            .iter()
            .map(|pipeline| pipeline.steps.len())
            .sum::<usize>();
        if steps <= self.room {
            for pipeline in pipelines {
                for step in &pipeline.steps {
                    self.line(&pipeline.name, step);
                }
            }
        }
    }

    /// The step's line, made where it has none yet.
    fn line(&mut self, pipeline: &Name, step: &Name) -> &mut Line {
        let (bars, prefixes, styles) = (&self.bars, &self.prefixes, &self.styles);
        self.steps
            .entry((pipeline.clone(), step.clone()))
            .or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length().with_style(styles.waiting.clone()));
                bar.set_prefix(format!("· {}", prefixes.padded(pipeline, step)));
                bar.tick();
                Line {
                    bar,
                    overwritten: None,
                }
            })
    }

    fn warming(&mut self, ready: u32, wanted: u32) {
        if ready >= wanted {
            if let Some(bar) = self.warming.take() {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
            return;
        }
        let (bars, style) = (&self.bars, &self.styles.running);
        let bar = self.warming.get_or_insert_with(|| {
            let bar = bars.insert(0, ProgressBar::no_length().with_style(style.clone()));
            bar.set_prefix("warming the pool");
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(format!("{ready} of {wanted} machines ready"));
    }

    fn step_started(&mut self, pipeline: &Name, step: &Name) {
        let running = self.styles.running.clone();
        let prefix = self.prefixes.padded(pipeline, step);
        let bar = &self.line(pipeline, step).bar;
        bar.reset_elapsed();
        bar.set_prefix(prefix);
        bar.set_style(running);
        bar.enable_steady_tick(TICK);
    }

    fn step_ended(&mut self, pipeline: &Name, step: &Name, end: &Ended, ran: Duration) {
        let key = (pipeline.clone(), step.clone());
        let ended = self.styles.ended.clone();
        let prefix = format!(
            "{} {}",
            mark(end.result),
            self.prefixes.padded(pipeline, step)
        );
        let line = self.line(pipeline, step);
        line.bar.disable_steady_tick();
        line.bar.set_message(match end.result {
            Outcome::Success => human(ran),
            Outcome::Skipped => told_shortly(end),
            _ => format!("{} {}", human(ran), told_shortly(end)),
        });
        line.bar.set_prefix(prefix);
        line.bar.set_style(ended);
        // Drawn although something was drawn just before: nothing may follow.
        line.bar.force_draw();
        if let Some(last) = line.overwritten.take() {
            self.output(pipeline, step, &last);
        }
        self.over.push(key);
        while self.steps.len() > self.room && !self.over.is_empty() {
            if let Some(line) = self.steps.remove(&self.over.remove(0)) {
                self.bars.remove(&line.bar);
            }
        }
    }

    fn log(&mut self, log: &LogLine) {
        if log.end == End::Return {
            let line = self.line(&log.pipeline, &log.step);
            line.bar.set_message(for_terminal(&log.bytes));
            line.overwritten = Some(log.bytes.clone());
            return;
        }
        if let Some(line) = self
            .steps
            .get_mut(&(log.pipeline.clone(), log.step.clone()))
            && line.overwritten.take().is_some()
        {
            line.bar.set_message("");
        }
        self.output(&log.pipeline, &log.step, &log.bytes);
    }

    fn output(&mut self, pipeline: &Name, step: &Name, bytes: &[u8]) {
        let prefix = self.prefixes.padded(pipeline, step);
        let _ = writeln!(self.waiting, "{prefix} │ {}", for_terminal(bytes));
    }
}

impl<W: Write, E: Write> Screen for Live<W, E> {
    fn show(&mut self, _at: Duration, event: Event) -> io::Result<()> {
        match event {
            Event::Started {
                file,
                jobs,
                pipelines,
            } => {
                let _ = writeln!(self.waiting, "{}", started(&file, jobs, pipelines.len()));
                self.started(&pipelines);
            }
            Event::Warning { message } => {
                let _ = writeln!(self.warnings, "warning: {}", printable(&message));
            }
            Event::Warming { ready, wanted } => self.warming(ready, wanted),
            Event::Acquired {
                pipeline,
                machine,
                took,
                warm,
            } => {
                let _ = writeln!(
                    self.waiting,
                    "{}: machine {} acquired in {}{}",
                    printable(pipeline.as_str()),
                    printable(&machine),
                    human(took),
                    if warm { ", warm" } else { "" },
                );
            }
            Event::StepStarted { pipeline, step } => self.step_started(&pipeline, &step),
            Event::Log(line) => self.log(&line),
            Event::StepEnded {
                pipeline,
                step,
                end,
                ran,
            } => {
                self.step_ended(&pipeline, &step, &end, ran);
            }
            // Of the only pipeline the summary says the same, at once.
            Event::PipelineEnded { pipeline, end } if self.prefixes.are_several() => {
                let pipeline = printable(pipeline.as_str());
                let _ = writeln!(self.waiting, "{pipeline}: {}", told(&end));
            }
            Event::PipelineEnded { .. } => {}
            Event::Interrupted { signal } => {
                let _ = writeln!(self.waiting, "{}", interrupted(signal));
            }
            Event::Summary(summary) => {
                self.flush()?;
                for line in self.steps.values() {
                    line.bar.disable_steady_tick();
                }
                self.bars.clear()?;
                self.bars.set_draw_target(ProgressDrawTarget::hidden());
                let width = terminal_size().map(|(Width(columns), _)| columns);
                self.out
                    .write_all(summary::table(&summary, width).as_bytes())?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() && self.warnings.is_empty() {
            return self.out.flush();
        }
        self.bars.suspend(|| {
            let _ = self.err.write_all(self.warnings.as_bytes());
            self.out.write_all(self.waiting.as_bytes())?;
            self.out.flush()
        })?;
        self.waiting.clear();
        self.warnings.clear();
        Ok(())
    }
}

fn mark(result: Outcome) -> &'static str {
    match result {
        Outcome::Success => "✓",
        Outcome::Skipped => "-",
        Outcome::Ignored => "!",
        Outcome::Failure | Outcome::NoMachine => "✗",
        Outcome::Cancelled => "×",
    }
}
