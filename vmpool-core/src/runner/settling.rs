//! The time after a start on an empty journal in which it is not known yet what
//! runs: the journal may have been lost.
//!
//! Whoever asks for a stage that the journal does not know waits until then.
//! Else a retry of a setup would get a second machine (P2), and one of a step
//! would be told that there is no such stage (P4).

use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::reign::Reign;

/// Agents that have not said by then whose they are, are not waited for.
const AT_MOST: Duration = Duration::from_secs(60);
/// Between two looks. The pool does not tell when it is settled: that is not
/// waited for but here, and for a moment.
const LOOK: Duration = Duration::from_millis(20);

/// A reign's first time.
#[derive(Debug)]
pub(super) struct Settling {
    until: Instant,
    over: OnceCell<()>,
}

impl Settling {
    pub(super) fn begin() -> Self {
        Self {
            until: Instant::now() + AT_MOST,
            over: OnceCell::new(),
        }
    }
}

impl Reign {
    /// It is known whose the machines are that were found at the start, or was
    /// waited for in vain.
    pub(super) fn is_settled(&self) -> bool {
        self.settling.over.initialized()
    }

    /// Waits until it is known whose the machines are that were found at the
    /// start, or for so long.
    pub(super) async fn settled(&self) {
        let Settling { until, over } = &self.settling;
        let looks = async {
            while !self.pool.is_settled() {
                tokio::time::sleep(LOOK).await;
            }
        };
        over.get_or_init(async || {
            if timeout_at(*until, looks).await.is_err() {
                self.trouble("it is not known whose all machines are that were found: going on");
            }
        })
        .await;
    }
}
