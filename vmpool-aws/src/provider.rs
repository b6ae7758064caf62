//! The provider: a pool's calls, as EC2's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use vmpool_core::{
    Capabilities, Clock, LaunchOrder, LaunchOutcome, Listing, MachineId, Market, OrderDraft, Owner,
    Provider, ProviderError, SecretBytes, Terminating,
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
/// Machines of one template in one account and region.
#[derive(Debug, Clone)]
pub struct Ec2Provider {
    client: Client,
    template: Arc<Template>,
    spec: Arc<str>,
    clock: Clock,
}

impl Ec2Provider {
    /// A provider of `template`'s machines, with the credentials, region and
    /// endpoint of `account`. Does not call EC2.
    pub fn new(account: &aws_config::SdkConfig, template: Template) -> Self {
        Self {
            client: ec2(account),
            spec: template.fingerprint().into(),
            template: Arc::new(template),
            clock: Clock::system(),
        }
    }
}

#[async_trait]
impl Provider for Ec2Provider {
    fn capabilities(&self) -> Capabilities {
        let places = self.template.places();
        Capabilities {
            max_batch: MAX_BATCH,
            suspend: self.template.machine.hibernate,
            spot: places.iter().any(|place| place.market == Market::Spot),
            consistency_window: CONSISTENCY,
            spec: Arc::clone(&self.spec),
            places,
        }
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
        if self.capabilities().places.len() > 1 {
            fleet::reap(&self.client, owner, self.clock.now()).await;
        }
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
