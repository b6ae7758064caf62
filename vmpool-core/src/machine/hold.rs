//! A machine that a person keeps after its stage's end, to look at it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::explain::span;

/// A stage's machine is kept after the stage's end. It gets no other stage
/// (P2), counts against the limit (P7), and ends by itself when the time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How long, from the stage's end.
    pub lasts: Duration,
    /// Who said so.
    pub by: Arc<str>,
    /// Why; may be empty.
    pub why: Arc<str>,
    /// When that was said.
    pub at: Timestamp,
    /// Until when. None: the stage goes on.
    pub until: Option<Timestamp>,
}

impl Hold {
    /// `ann holds it for 2 h: look at the database`.
    pub fn told(&self) -> String {
        let (by, lasts) = (&self.by, span(self.lasts));
        if self.why.is_empty() {
            format!("{by} holds it for {lasts}")
        } else {
            format!("{by} holds it for {lasts}: {}", self.why)
        }
    }

    /// Of a stage that ends `now`; no longer than the machine may be there.
    pub(crate) fn begun(&self, now: Timestamp, expires_at: Timestamp) -> Self {
        let until = now.after(self.lasts).min(expires_at);
        Self {
            until: Some(until),
            ..self.clone()
        }
    }
}
