//! What an account measures; the names are in the module's table.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::{CallKind, Verdict};

/// Handles for one kind of call.
struct OfKind {
    fine: Counter,
    refused: Counter,
    throttled: Counter,
    fault: Counter,
    abandoned: Counter,
    wait: Histogram,
    pace: Gauge,
}

pub(super) struct Metrics {
    kinds: [OfKind; CallKind::ALL.len()],
    shared: Counter,
}

impl Metrics {
    pub(super) fn new(account: &str) -> Self {
        let account = account.to_owned();
        let of_kind = |kind: CallKind| {
            let ended = |verdict: Verdict| {
                metrics::counter!(
                    "vmpool_provider_calls_total", "account" => account.clone(),
                    "call" => kind.as_str(), "outcome" => verdict.as_str()
                )
            };
            OfKind {
                fine: ended(Verdict::Fine),
                refused: ended(Verdict::Refused),
                throttled: ended(Verdict::Throttled(None)),
                fault: ended(Verdict::Fault),
                abandoned: ended(Verdict::Abandoned),
                wait: metrics::histogram!(
                    "vmpool_provider_call_wait_seconds", "account" => account.clone(),
                    "call" => kind.as_str()
                ),
                pace: metrics::gauge!(
                    "vmpool_provider_call_pace", "account" => account.clone(),
                    "call" => kind.as_str()
                ),
            }
        };
        Self {
            kinds: CallKind::ALL.map(of_kind),
            shared: metrics::counter!(
                "vmpool_provider_listings_shared_total", "account" => account.clone()
            ),
        }
    }

    /// A call of `kind` ended, and left so much of its rate.
    pub(super) fn ended(&self, kind: CallKind, verdict: Verdict, pace: f64) {
        let of_kind = &self.kinds[kind as usize];
        let counter = match verdict {
            Verdict::Fine => &of_kind.fine,
            Verdict::Refused => &of_kind.refused,
            Verdict::Throttled(_) => &of_kind.throttled,
            Verdict::Fault => &of_kind.fault,
            Verdict::Abandoned => &of_kind.abandoned,
        };
        counter.increment(1);
        of_kind.pace.set(pace);
    }

    /// A call of `kind` may be made after it waited so long.
    pub(super) fn waited(&self, kind: CallKind, waited: Duration) {
        self.kinds[kind as usize].wait.record(waited.as_secs_f64());
    }

    /// A listing was asked for and is another's.
    pub(super) fn shared(&self) {
        self.shared.increment(1);
    }
}
