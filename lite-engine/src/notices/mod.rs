//! What the machine's cloud says of the machine's end.
//!
//! ```text
//! metadata service ──service──► answers ──read──► Notice ──► Notices ──► whoever watches
//! ```
//!
//! On EC2 the instance metadata service is asked every 5 s, as AWS advises,
//! whether the spot instance is to be interrupted, or is recommended to be
//! replaced. Only an agent that is told that it is on EC2 asks: elsewhere
//! nobody may answer there, or anybody.
//!
//! Invariants:
//! - nothing waits for the service, and each question has its time;
//! - what was said stays: the gravest notice is the one that is told;
//! - nothing but this link-local service is asked, and no proxy.

mod read;
mod service;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use vmpool_core::{Clock, Notice, NoticeKind, Timestamp};

pub use read::{ReadError, interruption, rebalance};
use service::{AskError, Service};
pub use service::{BadEndpoint, Endpoint};

/// AWS advises to ask this often.
const EVERY: Duration = Duration::from_secs(5);

const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// The gravest notice so far. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    told: watch::Sender<Option<Notice>>,
}

impl Notices {
    /// Tells of each change from now on. Who is slow sees the latest alone.
    pub fn watch(&self) -> watch::Receiver<Option<Notice>> {
        self.told.subscribe()
    }

    /// Takes a notice, unless a graver one is there, or the same.
    fn take(&self, notice: Notice) {
        self.told.send_if_modified(|told| {
            let news = told
                .as_ref()
                .is_none_or(|told| notice.kind != told.kind || notice.acts_at != told.acts_at);
            let graver = notice.is_end() || told.as_ref().is_none_or(|told| !told.is_end());
            let takes = news && graver;
            if takes {
                tracing::warn!("{notice}");
                *told = Some(notice);
            }
            takes
        });
    }

    /// Asks the metadata service again and again, for as long as it is polled.
    pub async fn read_from(self, endpoint: Endpoint) {
        let clock = Clock::system();
        let mut service = Service::new(endpoint);
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            ticks.tick().await;
            match self.ask(&mut service, clock.now()).await {
                Ok(()) => answered = true,
                // Said once until it answers again.
                Err(error) if answered => {
                    let endpoint = service.endpoint();
                    tracing::warn!(%endpoint, %error, "the metadata service");
                    answered = false;
                }
                Err(_) => {}
            }
        }
    }

    async fn ask(&self, service: &mut Service, now: Timestamp) -> Result<(), AskError> {
        if let Some(text) = service.get(INTERRUPTION).await? {
            let (action, acts_at) = interruption(&text)?;
            self.take(Notice {
                kind: NoticeKind::SpotInterruption,
                at: now,
                acts_at: Some(acts_at),
                action,
            });
        }
        if let Some(text) = service.get(REBALANCE).await? {
            self.take(Notice {
                kind: NoticeKind::Rebalance,
                at: rebalance(&text)?,
                acts_at: None,
                action: String::new(),
            });
        }
        Ok(())
    }
}
