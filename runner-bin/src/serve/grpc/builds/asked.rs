//! A call under way, by a task of its own: a stream that nobody reads just now
//! must hold up neither the call nor the end of this process.

use prost::Message;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::Builds;
use super::answer::read;
use super::ask::Method;
use super::failure::moved;
use crate::serve::call::Request;
use crate::serve::traces;
use crate::serve::wire::Answer;

/// Dropped, it is not waited for any more; what it began goes on.
#[derive(Debug)]
pub(super) struct Asked {
    answer: oneshot::Receiver<Answer>,
    _heard: DropGuard,
}

impl Builds {
    /// Asks whoever has the pool, not before `at`.
    pub(super) fn ask(&self, method: Method, message: &impl Message, at: Instant) -> Asked {
        self.ask_with(method, "", message, at)
    }

    /// The same, with a word for whoever has the pool.
    pub(super) fn ask_with(
        &self,
        method: Method,
        query: &str,
        message: &impl Message,
        at: Instant,
    ) -> Asked {
        let request = Request {
            path: method.path(),
            query: query.to_owned(),
            body: message.encode_to_vec().into(),
            hops: 0,
            caller: self.caller.clone(),
        };
        let (tell, answer) = oneshot::channel();
        let dropped = CancellationToken::new();
        let heard = dropped.clone().drop_guard();
        let (desk, leaving) = (self.desk.clone(), self.leaving.clone());
        self.tasks.spawn(traces::for_caller(async move {
            let asking = async {
                sleep_until(at).await;
                desk.answer(request).await
            };
            tokio::select! {
                biased;
                () = dropped.cancelled() => {}
                answer = asking => {
                    // Who asked may just be gone.
                    let _ = tell.send(answer);
                }
                () = leaving.cancelled() => {}
            }
        }));
        Asked {
            answer,
            _heard: heard,
        }
    }
}

impl Asked {
    /// The answer. Not to be called again after it.
    ///
    /// # Errors
    /// The call failed, or the runner is left.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn answer<M: Message + Default>(&mut self) -> Result<M, Status> {
        match (&mut self.answer).await {
            Ok(answer) => read(&answer),
            Err(_) => Err(moved()),
        }
    }
}
