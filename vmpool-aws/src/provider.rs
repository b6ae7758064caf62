//! The provider: a pool's calls, as EC2's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use vmpool_core::{
    Capabilities, Clock, LaunchOrder, LaunchOutcome, Listing, MachineId, Market, OrderDraft, Owner,
    Provider, ProviderError, SecretBytes, Terminating, Timestamp,
};

use crate::account::ec2;
use crate::request::Request;
use crate::template::Template;
use crate::{fleet, launch, listing, sleep, terminate};

/// Most machines of one order. A launch answers in one piece, and what it was
/// refused is asked for again elsewhere: small orders find a place sooner.
const MAX_BATCH: u32 = 25;
/// For this long EC2 may not show what it launched ("Eventual consistency in
/// the Amazon EC2 API": describe with back-off for up to about five minutes).
const CONSISTENCY: Duration = Duration::from_mins(5);
/// Between two looks for outdated launch templates.
const REAPS_EVERY: Duration = Duration::from_mins(10);

/// Machines of one template in one account and region.
#[derive(Debug)]
pub struct Ec2Provider {
    client: Client,
    template: Template,
    capabilities: Capabilities,
    clock: Clock,
    /// When outdated launch templates were last looked for: Unix milliseconds.
    reaped: AtomicU64,
}

impl Ec2Provider {
    /// A provider of `template`'s machines, with the credentials, region and
    /// endpoint of `account`. Does not call EC2.
    pub fn new(account: &aws_config::SdkConfig, template: Template) -> Self {
        let places = template.places();
        let capabilities = Capabilities {
            max_batch: template.user_data.batch(MAX_BATCH),
            suspend: template.machine.hibernate,
            spot: places.iter().any(|place| place.market == Market::Spot),
            consistency_window: CONSISTENCY,
            spec: template.fingerprint().into(),
            places,
        };
        Self {
            client: ec2(account),
            template,
            capabilities,
            clock: Clock::system(),
            reaped: AtomicU64::new(0),
        }
    }

    /// Deletes outdated launch templates, where launches make any. Listings
    /// come many a minute, and templates are outdated after an hour: most
    /// times there is nothing to do.
    async fn reap(&self, owner: &Owner) {
        let now = self.clock.now();
        let last = Timestamp(self.reaped.load(Ordering::Relaxed));
        if self.capabilities.places.len() > 1 && now.since(last) > REAPS_EVERY {
            self.reaped.store(now.0, Ordering::Relaxed);
            fleet::reap(&self.client, owner, now).await;
        }
    }
}

#[async_trait]
impl Provider for Ec2Provider {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        Request::new(&self.template, draft)?.to_bytes()
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        launch::launch(&self.client, order).await
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let network = &self.template.machine.network;
        let listing = listing::list(&self.client, owner, network, &self.clock).await?;
        self.reap(owner).await;
        Ok(listing)
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        terminate::terminate(&self.client, ids).await
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        sleep::diagnose(&self.client, id).await
    }

    async fn suspend(&self, id: &MachineId) -> Result<(), ProviderError> {
        sleep::suspend(&self.client, id).await
    }

    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError> {
        sleep::resume(&self.client, id).await
    }
}
