//! The output of one step as `/stream_output` gives it: its log from an offset
//! on, what was added to it after its end, and then nothing more.
//!
//! It reads from the disk at its reader's pace: who is slow, or leaves, holds
//! nobody up.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::refused::Refused;
use super::stage::Progress;
use crate::agent::chain;
use crate::log::{LogError, LogReader};

/// Output that is being read.
#[derive(Debug)]
pub(super) struct Output {
    log: Option<LogReader>,
    progress: watch::Receiver<Progress>,
    /// Bytes of the epilogue that the reader has.
    skip: usize,
}

impl Output {
    /// From `offset` on, of a step that has come so far.
    ///
    /// # Errors
    /// There are not that many bytes.
    pub(super) fn from(
        progress: watch::Receiver<Progress>,
        now: &Progress,
        offset: i64,
    ) -> Result<Self, Refused> {
        let printed = now
            .running
            .as_ref()
            .map_or(0, crate::host::RunningStep::log_end);
        let epilogue = now.end.as_ref().map_or(0, |end| end.epilogue.len() as u64);
        let total = printed + epilogue;
        let offset = match u64::try_from(offset) {
            Ok(offset) if offset <= total => offset,
            _ => {
                return Err(Refused::failed(format!(
                    "error: index 'offset' is out of bounds Offset={offset} Total={total}"
                )));
            }
        };
        let log = now
            .running
            .as_ref()
            .filter(|_| offset <= printed)
            .map(|step| step.log(offset));
        let skip = usize::try_from(offset.saturating_sub(printed)).unwrap_or(usize::MAX);
        Ok(Self {
            log,
            progress,
            skip,
        })
    }

    /// The bytes, until the step is over.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, LogError>> + Send {
        stream::unfold(Some(self), |output| async move {
            let mut output = output?;
            if let Some(log) = &mut output.log {
                match log.next().await {
                    Ok(Some(chunk)) => return Some((Ok(chunk.bytes), Some(output))),
                    Ok(None) => output.log = None,
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "an output broke off");
                        return Some((Err(error), None));
                    }
                }
            }
            let epilogue = output.epilogue().await?;
            (!epilogue.is_empty()).then_some((Ok(epilogue), None))
        })
    }

    async fn epilogue(&mut self) -> Option<Bytes> {
        let ended = self.progress.wait_for(|now| now.end.is_some()).await.ok()?;
        let end = ended.end.as_ref()?;
        let rest = end.epilogue.as_bytes().get(self.skip..)?;
        Some(Bytes::copy_from_slice(rest))
    }
}
