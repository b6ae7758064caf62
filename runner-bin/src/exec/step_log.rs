//! Takes a step's log from its machine and gives it to the screen, line by line.
//!
//! The screen is all there is to keep a log of `vmpool exec`: what it has
//! taken counts as kept. It takes only so much at a time, so a step that prints
//! faster than the screen shows waits on its machine.

use async_trait::async_trait;
use vmpool_core::{LogSink, LogSinkError, StepId};

use super::events::{Event, Events, LogLine, ScreenClosed};
use super::lines::{Lines, Piece};
use super::name::Name;

/// The log of one step.
#[derive(Debug)]
pub(crate) struct StepLog {
    pipeline: Name,
    step: Name,
    events: Events,
    lines: Lines,
    position: u64,
}

impl StepLog {
    /// The log of `step` from its beginning.
    pub(crate) fn new(pipeline: &Name, step: &Name, events: &Events) -> Self {
        Self {
            pipeline: pipeline.clone(),
            step: step.clone(),
            events: events.clone(),
            lines: Lines::default(),
            position: 0,
        }
    }

    /// Shows what the step left without a line feed.
    pub(crate) async fn finish(mut self) -> Result<(), ScreenClosed> {
        match self.lines.finish() {
            Some(piece) => self.show(piece).await,
            None => Ok(()),
        }
    }

    async fn show(&self, piece: Piece) -> Result<(), ScreenClosed> {
        self.events
            .send(Event::Log(LogLine::new(&self.pipeline, &self.step, piece)))
            .await
    }
}

#[async_trait]
impl LogSink for StepLog {
    fn position(&self, _step: &StepId) -> u64 {
        self.position
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        let broken = |reason: String| LogSinkError {
            step: step.clone(),
            offset,
            reason,
        };
        let known = self
            .position
            .checked_sub(offset)
            .ok_or_else(|| broken(format!("the bytes from {} on are missing", self.position)))?;
        let new = usize::try_from(known)
            .ok()
            .and_then(|known| bytes.get(known..));
        let new = new.unwrap_or_default();
        let mut pieces = Vec::new();
        self.lines.push(new, &mut pieces);
        // Counted first: a call that is dropped midway loses lines on the
        // screen, and a screen that is left is the end of the run.
        self.position += new.len() as u64;
        for piece in pieces {
            self.show(piece)
                .await
                .map_err(|closed| broken(closed.to_string()))?;
        }
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (
        StepLog,
        tokio::sync::mpsc::Receiver<super::super::events::Stamped>,
    ) {
        let (events, shown) = Events::new();
        (StepLog::new(&"p".into(), &"s".into(), &events), shown)
    }

    #[tokio::test]
    async fn bytes_that_come_twice_are_shown_once() {
        let (mut log, mut shown) = log();
        let id = StepId::new("s");
        assert_eq!(log.write(&id, 0, b"one\ntw").await.unwrap(), 6);
        assert_eq!(log.write(&id, 0, b"one\ntwo\n").await.unwrap(), 8);
        assert_eq!(log.write(&id, 2, b"e\n").await.unwrap(), 8);
        log.finish().await.unwrap();
        let mut text = Vec::new();
        while let Some(stamped) = shown.recv().await {
            if let Event::Log(line) = stamped.event {
                text.extend(line.bytes);
                text.extend(line.end.as_str().bytes());
            }
        }
        assert_eq!(text, b"one\ntwo\n");
    }

    #[tokio::test]
    async fn a_gap_is_an_error_and_not_passed_over() {
        let (mut log, _shown) = log();
        let error = log.write(&StepId::new("s"), 7, b"x").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "write the log of step s at 7: the bytes from 0 on are missing"
        );
    }
}
