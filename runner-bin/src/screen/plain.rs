//! Plain lines, for logs and pipes: a step's output with its name before it.
//!
//! Output is passed on as it is, byte for byte; only what a progress bar
//! would write over itself comes on lines of its own.

use std::io::{self, Write};
use std::time::Duration;

use super::text::{Prefixes, human, printable, told};
use super::{Screen, summary};
use crate::exec::events::{Event, LogLine, Outcome};
use crate::exec::lines::End;
use crate::exec::name::Name;

/// Writes lines to `out`, warnings to `err`.
pub(super) struct Plain<W, E> {
    out: W,
    err: E,
    prefixes: Prefixes,
    /// The step whose line is not ended yet.
    open: Option<(Name, Name)>,
}

impl<W: Write, E: Write> Plain<W, E> {
    pub(super) fn new(out: W, err: E) -> Self {
        Self {
            out,
            err,
            prefixes: Prefixes::default(),
            open: None,
        }
    }

    fn log(&mut self, line: LogLine) -> io::Result<()> {
        let step = (line.pipeline, line.step);
        if self.open.as_ref() != Some(&step) {
            self.close_line()?;
            write!(self.out, "{} | ", self.prefixes.padded(&step.0, &step.1))?;
        }
        self.out.write_all(&line.bytes)?;
        self.open = match line.end {
            End::Open => Some(step),
            End::Newline | End::ReturnNewline | End::Return => {
                self.out.write_all(b"\n")?;
                None
            }
        };
        Ok(())
    }

    fn close_line(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(_) => self.out.write_all(b"\n"),
            None => Ok(()),
        }
    }
}

impl<W: Write, E: Write> Screen for Plain<W, E> {
    fn show(&mut self, at: Duration, event: Event) -> io::Result<()> {
        let line = match event {
            Event::Log(line) => return self.log(line),
            Event::Warning { message } => {
                // Standard error may be closed; that is no reason to end the run.
                let _ = writeln!(self.err, "warning: {}", printable(&message));
                return Ok(());
            }
            Event::Started {
                file,
                jobs,
                pipelines,
            } => {
                self.prefixes = Prefixes::new(&pipelines);
                started(&file, jobs, pipelines.len())
            }
            Event::Warming { ready, wanted } if ready < wanted => {
                format!(
                    "pool: {ready} of {wanted} machines ready after {}",
                    human(at)
                )
            }
            Event::Warming { ready, .. } => {
                format!("pool: warm after {}, {ready} ready", human(at))
            }
            Event::Acquired {
                pipeline,
                machine,
                took,
                warm,
            } => format!(
                "{}: machine {} acquired in {}{}",
                printable(pipeline.as_str()),
                printable(&machine),
                human(took),
                if warm { ", warm" } else { "" },
            ),
            Event::StepStarted { pipeline, step } => {
                format!("{}: started", self.prefixes.of(&pipeline, &step))
            }
            Event::StepEnded {
                pipeline,
                step,
                end,
                ran,
            } => {
                let step = self.prefixes.of(&pipeline, &step);
                match end.result {
                    Outcome::Skipped => format!("{step}: {}", told(&end)),
                    _ => format!("{step}: {} after {}", told(&end), human(ran)),
                }
            }
            // Of the only pipeline the summary says the same, at once.
            Event::PipelineEnded { .. } if !self.prefixes.are_several() => return Ok(()),
            Event::PipelineEnded { pipeline, end } => {
                format!("{}: {}", printable(pipeline.as_str()), told(&end))
            }
            Event::Interrupted { signal } => interrupted(signal),
            Event::Summary(summary) => {
                self.close_line()?;
                return self
                    .out
                    .write_all(summary::table(&summary, None).as_bytes());
            }
        };
        self.close_line()?;
        writeln!(self.out, "{line}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The first line.
pub(super) fn started(file: &str, jobs: u32, pipelines: usize) -> String {
    let counted = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let file = printable(file);
    match (pipelines, jobs) {
        (0, _) => format!("{file}: nothing to run"),
        (_, 1) => format!("{file}: {} on 1 machine", counted(pipelines, "pipeline")),
        (_, jobs) => {
            format!(
                "{file}: {} on {jobs} machines at most",
                counted(pipelines, "pipeline")
            )
        }
    }
}

/// What is said when a signal came.
pub(super) fn interrupted(signal: &str) -> String {
    format!("{signal}: cancelling and cleaning up; once more stops at once")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::samples;

    #[test]
    fn a_run_is_told_in_lines() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Plain::new(&mut out, &mut err);
        for (at, event) in samples::run() {
            screen.show(at, event).expect("a vector takes everything");
        }
        insta::assert_snapshot!(String::from_utf8(out).expect("text"), @"
        hello.yml: 1 pipeline on 1 machine
        pool: 0 of 1 machines ready after 30 ms
        pool: warm after 310 ms, 1 ready
        hello: machine local-62203b500966d87d acquired in 0.21 ms, warm
        build: started
        build   | + make
        build   | 50%
        build   | no line feed
        build: succeeded after 1.2 s
        check: started
        check   | café
        check: failed: exit code 7 after 40 ms
        SIGINT: cancelling and cleaning up; once more stops at once
        publish: skipped: interrupted

          STEP      MACHINE                  WAIT     RUN     RESULT
        ────────────────────────────────────────────────────────────────────────────
          build     local-62203b500966d87d   320 ms   1.2 s   succeeded
          check     local-62203b500966d87d   0 ms     40 ms   failed: exit code 7
          publish                                             skipped: interrupted

        hello: failed on machine local-62203b500966d87d, acquired in 0.21 ms, warm: step check failed: exit code 7
        failed in 1.7 s, the pool was warm after 310 ms
        ");
        insta::assert_snapshot!(
            String::from_utf8(err).expect("text"),
            @"warning: hello.yml:3:1: steps[0]: unknown key `comands`"
        );
    }
}
