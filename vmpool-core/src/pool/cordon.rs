//! A pool that takes no new stages because a person said so, and one that does
//! again. Written down first, so that it outlasts this runner.
//!
//! Cordoned: who waits and who comes is told why, nothing is ordered, and what
//! is there stays: ready machines ready, stages running. Drained: besides,
//! machines that no stage has are ended. Filled: as if that had never been, and
//! what held orders off is tried anew.

use std::sync::Arc;

use super::shared::Shared;
use super::{AcquireError, Closed, PoolEvent};
use crate::journal::{Cordon, JournalError};

impl Shared {
    /// Puts the cordon up, or takes it away. The same word again changes nothing.
    pub(super) async fn cordon(&self, cordon: Option<Cordon>) -> Result<(), JournalError> {
        // One after the other, so that memory ends with the journal's last word.
        let _turn = self.cordoning.lock().await;
        let stands = self.book.lock().cordon.clone();
        if let (Some(asked), Some(stands)) = (&cordon, &stands)
            && asked.says_the_same(stands)
        {
            return Ok(());
        }
        let failed = |reason: &str| JournalError {
            attempted: format!("write down whether pool {} takes stages", self.name),
            reason: reason.to_owned(),
        };
        if !*self.may_write.borrow() {
            return Err(failed("the pool's lease was not renewed in time"));
        }
        let journal = &self.parts.journal;
        let written = journal.cordon(&self.name, self.term, cordon.as_ref());
        if !written.await? {
            return Err(failed("another runner rules it"));
        }
        self.stands_cordoned(cordon.map(Arc::new));
        Ok(())
    }

    /// Takes in what is written down.
    pub(super) fn stands_cordoned(&self, cordon: Option<Arc<Cordon>>) {
        {
            let mut book = self.book.lock();
            if cordon.is_none() {
                // Who says so may have mended what held orders off.
                book.hold.breaker.succeeded();
                if book.stopped.is_none() {
                    self.queue.open();
                }
            }
            book.cordon.clone_from(&cordon);
        }
        if let Some(cordon) = &cordon {
            self.queue.close(Closed(cordon.told(self.now()).into()));
        }
        self.announcer.tell(|| PoolEvent::Cordoned { cordon });
        self.work.notify_one();
    }

    /// What a request is told that finds the pool cordoned.
    pub(super) fn cordoned(&self) -> Option<AcquireError> {
        let book = self.book.lock();
        if book.stopped.is_some() {
            return None;
        }
        let cordon = book.cordon.as_ref()?;
        Some(AcquireError::Cordoned {
            pool: self.name.clone(),
            told: cordon.told(self.now()),
        })
    }
}
