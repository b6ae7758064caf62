//! What a person has said of a pool: that it takes no new stages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::explain::span;

/// A pool takes no new stages, by somebody's word, until somebody says that it
/// does again. It lasts whoever rules the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Machines that no stage has are ended, too.
    pub drains: bool,
    /// Who said so.
    pub by: Arc<str>,
    /// Why; may be empty.
    pub why: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl Cordon {
    /// `ann drained it 5 min ago: another image`.
    pub fn told(&self, now: Timestamp) -> String {
        let (by, did) = (&self.by, self.did());
        let ago = span(now.since(self.at));
        if self.why.is_empty() {
            format!("{by} {did} it {ago} ago")
        } else {
            format!("{by} {did} it {ago} ago: {}", self.why)
        }
    }

    /// `drained`, `cordoned`.
    pub fn did(&self) -> &'static str {
        if self.drains { "drained" } else { "cordoned" }
    }

    /// The same word, whenever it was said.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let at = self.at;
        *self
            == Self {
                at,
                ..other.clone()
            }
    }
}
