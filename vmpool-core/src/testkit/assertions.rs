//! Assertions about pools.

use std::time::Duration;

use async_trait::async_trait;

use super::FakeProvider;
use crate::executor::{LogSink, LogSinkError};
use crate::id::StepId;
use crate::pool::PoolStatus;

/// Waits until `holds`, looking again each time the runtime has nothing else to
/// do. Fails after a minute of tokio's time, with what `show` says.
///
/// # Panics
/// It never came to hold.
pub async fn eventually(show: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let patience = Duration::from_secs(60);
    let until = tokio::time::Instant::now() + patience;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < until,
            "not within {patience:?}: {}",
            show()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Holds a pool's numbers against its provider: no more machines than the
/// limit, and none that the pool does not know (P1, P7).
///
/// # Panics
/// They don't fit.
pub fn assert_accounted(status: &PoolStatus, provider: &FakeProvider) {
    let limit = usize::try_from(status.limit).unwrap_or(usize::MAX);
    assert!(
        provider.most_alive() <= limit,
        "{} alive, limit {limit}",
        provider.most_alive()
    );
    if status.ordered == 0 {
        for id in provider.alive() {
            assert!(
                status.machines.iter().any(|machine| machine.id == id),
                "machine {id} is alive and the pool does not know it: {status:?}"
            );
        }
    }
}

/// A log sink that keeps everything, for tests.
#[derive(Debug, Default, Clone)]
pub struct Collected {
    bytes: Vec<u8>,
}

impl Collected {
    /// What came so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What came so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[async_trait]
impl LogSink for Collected {
    fn position(&self, _: &StepId) -> u64 {
        self.bytes.len() as u64
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        if offset != self.bytes.len() as u64 {
            let reason = format!("the log is {} bytes long", self.bytes.len());
            return Err(LogSinkError {
                step: step.clone(),
                offset,
                reason,
            });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(self.bytes.len() as u64)
    }
}
