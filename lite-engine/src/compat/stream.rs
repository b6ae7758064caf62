//! The output of one step as `/stream_output` gives it: its log from an offset
//! to its end, and then nothing more.
//!
//! It reads from the disk at its reader's pace: who is slow, or leaves, holds
//! nobody up.

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::refused::Refused;
use super::stage::Slot;
use crate::agent::chain;
use crate::log::{LogError, LogReader};

/// Output that is being read; none of a step that never began.
#[derive(Debug)]
pub(super) struct Output(Option<LogReader>);

impl Output {
    /// From `offset` on, of a step that has begun or ended.
    ///
    /// # Errors
    /// There are not that many bytes.
    pub(super) fn from(slot: &Slot, offset: i64) -> Result<Self, Refused> {
        let total = slot.log_end();
        let within = u64::try_from(offset).ok().filter(|offset| *offset <= total);
        let Some(within) = within else {
            return Err(Refused::failed(format!(
                "error: index 'offset' is out of bounds Offset={offset} Total={total}"
            )));
        };
        let running = slot.progress().borrow().running.clone();
        Ok(Self(running.map(|step| slot.log(&step, within))))
    }

    /// The bytes, until the step is over.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, LogError>> + Send {
        stream::unfold(self.0, |log| async move {
            let mut log = log?;
            match log.next().await {
                Ok(chunk) => Some((Ok(chunk?.bytes), Some(log))),
                Err(error) => {
                    tracing::debug!(error = chain(&error), "an output broke off");
                    Some((Err(error), None))
                }
            }
        })
    }
}
