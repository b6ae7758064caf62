//! Every call that arrived, for tests that count them and for the test that
//! makes the IAM policy from them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// When it arrived.
    pub at: Timestamp,
    /// The account that it was for.
    pub account: String,
    /// The region that it was for.
    pub region: String,
    /// The access key that signed it.
    pub access_key: String,
    /// `RunInstances`.
    pub action: String,
    /// What a policy has to allow for it: `ec2:RunInstances`, `ec2:CreateTags`.
    pub needs: Vec<String>,
    /// Its parameters; user data only by its length.
    pub params: BTreeMap<String, String>,
    /// The error's code; absent: it succeeded.
    pub error: Option<String>,
    /// Whether its answer was kept back.
    pub unanswered: bool,
}

/// The last calls, and counts of all.
#[derive(Debug, Default)]
pub struct Record {
    calls: VecDeque<CallRecord>,
    counts: BTreeMap<(String, String), u64>,
    needs: BTreeSet<String>,
}

/// Calls that are kept whole; counts go on beyond.
const KEPT: usize = 20_000;

impl Record {
    pub(crate) fn push(&mut self, call: CallRecord) {
        let outcome = call.error.clone().unwrap_or_else(|| "ok".to_owned());
        *self
            .counts
            .entry((call.action.clone(), outcome))
            .or_default() += 1;
        self.needs.extend(call.needs.iter().cloned());
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// The calls, oldest first; the last 20 000.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = &CallRecord> {
        self.calls.iter()
    }

    /// How often an action was called, with whatever outcome.
    pub fn count(&self, action: &str) -> u64 {
        self.counts
            .iter()
            .filter(|((called, _), _)| called == action)
            .map(|(_, count)| count)
            .sum()
    }

    /// Counts by action and outcome (`ok` or the error's code).
    pub fn counts(&self) -> &BTreeMap<(String, String), u64> {
        &self.counts
    }

    /// All that a policy would have had to allow.
    pub fn needs(&self) -> &BTreeSet<String> {
        &self.needs
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
