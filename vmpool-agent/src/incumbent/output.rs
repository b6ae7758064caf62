//! The reading of one step's output, as it comes.
//!
//! A task reads it, not the caller: the incumbent's agent can die of a reader
//! that leaves while a step prints, so once begun the output is read to its
//! end, though nobody wants it any more. It is read at its taker's pace for as
//! long as there is one: a log that can't be written holds its step up.

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use vmpool_proto::incumbent::{StreamRequest, encode};

use super::call::CallError;
use crate::link::Kept;
use crate::reason;

/// Pieces that are read before they are taken; the connection has a window besides.
const AHEAD: usize = 4;

/// What comes of an output.
pub(super) enum Piece {
    /// Its next bytes.
    Bytes(Bytes),
    /// There are no more: the step is over.
    End,
    /// It broke off.
    Broken(CallError),
}

/// An output that is being read.
pub(super) struct Output(mpsc::Receiver<Piece>);

impl Output {
    /// Begins to read the output of the step with this id, from `offset` on.
    /// The answer's head may come with its first byte only, whenever that is.
    pub(super) fn read(kept: &Kept, id: &str, offset: u64) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let body = encode(&StreamRequest {
            id: id.to_owned(),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
        });
        let requests = kept.requests();
        kept.tasks().spawn(async move {
            let mut output = match requests.open("/stream_output", &body).await {
                Ok(answer) => answer.into_body(),
                Err(error) => {
                    // An error means that nobody waits.
                    let _ = sender.send(Piece::Broken(error)).await;
                    return;
                }
            };
            loop {
                let piece = match output.frame().await {
                    None => Piece::End,
                    Some(Err(error)) => Piece::Broken(CallError::Broken(reason::chain(&error))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) => Piece::Bytes(bytes),
                        // Trailers say nothing.
                        Err(_) => continue,
                    },
                };
                let over = !matches!(piece, Piece::Bytes(_));
                let _ = sender.send(piece).await;
                if over {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// What comes next. After its end, or its break, nothing does.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Piece {
        let gone = || CallError::Broken("the connection was closed here".to_owned());
        self.0.recv().await.unwrap_or_else(|| Piece::Broken(gone()))
    }
}
