//! The provider: a pool's calls, as EC2's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vmpool_core::{
    Capabilities, LaunchOrder, LaunchOutcome, Listing, MachineId, Market, OrderDraft, Owner,
    Provider, ProviderError, SecretBytes, Terminating,
};

use crate::account::Ec2Account;
use crate::prices::Price;
use crate::request::Request;
use crate::template::Template;
use crate::{fleet, launch, listing, sleep, tags, terminate};

/// Most machines of one order. A launch answers in one piece, and what it was
/// refused is asked for again elsewhere: small orders find a place sooner.
const MAX_BATCH: u32 = 25;
/// For this long EC2 may not show what it launched ("Eventual consistency in
/// the Amazon EC2 API": describe with back-off for up to about five minutes).
const CONSISTENCY: Duration = Duration::from_mins(5);

/// Machines of one template in one account and region.
#[derive(Debug)]
pub struct Ec2Provider {
    account: Ec2Account,
    template: Template,
    capabilities: Capabilities,
}

impl Ec2Provider {
    /// A provider of `template`'s machines in `account`. Does not call EC2.
    pub fn new(account: &Ec2Account, template: Template) -> Self {
        let places = template.places();
        if places.len() > 1 {
            account.makes_templates();
        }
        if template.by_price(Market::Spot) {
            account.prices().watch(&template.types);
        }
        let capabilities = Capabilities {
            max_batch: template.user_data.batch(MAX_BATCH),
            suspend: template.machine.hibernate,
            spot: places.iter().any(|place| place.market == Market::Spot),
            consistency_window: CONSISTENCY,
            spec: template.fingerprint().into(),
            places,
        };
        Self {
            account: account.clone(),
            template,
            capabilities,
        }
    }
}

#[async_trait]
impl Provider for Ec2Provider {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        let account = &self.account;
        let prices = || account.prices().at(account.clock().now());
        Request::new(&self.template, draft, prices)?.to_bytes()
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        launch::launch(&self.account, order).await
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let network = &self.template.machine.network;
        // Nothing that a listing decides waits for prices.
        let (listing, ()) = tokio::join!(
            listing::list(&self.account, owner, network),
            self.account.refresh_prices(),
        );
        let listing = listing?;
        if self.account.reaps_now() {
            fleet::reap(&self.account, owner).await;
        }
        Ok(listing)
    }

    fn lists_as(&self) -> Option<usize> {
        Some(self.account.identity())
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        terminate::terminate(self.account.ec2(), ids).await
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        sleep::diagnose(self.account.ec2(), id).await
    }

    async fn tag(
        &self,
        id: &MachineId,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), ProviderError> {
        tags::add(self.account.ec2(), id, tags).await
    }

    fn zone(&self, id: &MachineId) -> Option<Arc<str>> {
        self.account.zone(id)
    }

    fn dollars_an_hour(&self, id: &MachineId) -> Option<f64> {
        self.account.price(id).map(Price::dollars)
    }

    async fn suspend(&self, id: &MachineId) -> Result<(), ProviderError> {
        sleep::suspend(self.account.ec2(), id).await
    }

    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError> {
        sleep::resume(self.account.ec2(), id).await
    }
}
