//! Orders as a pool makes them; the embedding program uses this file too.

use std::time::Duration;

use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{
    Attempt, DeploymentId, LaunchOrder, OrderDraft, OrderId, Provider, SecretBytes, Tags, Timestamp,
};
use vmpool_local::LocalProvider;

/// What the enrolment secret of `id`'s machines is.
pub(crate) fn secret(id: &str) -> String {
    format!("enrolment-secret-of-{id}")
}

/// The first attempt of the order `id`.
pub(crate) fn order(
    provider: &LocalProvider,
    owner: &str,
    id: &str,
    count: u32,
    attached: bool,
) -> LaunchOrder {
    let (id, attempt) = (OrderId::from(id), Attempt(1));
    let tags = Tags {
        owner: owner.into(),
        deployment: DeploymentId::from("deployment"),
        pool: "pool".into(),
        order: id.clone(),
        attempt,
        expires_at: Timestamp(u64::MAX),
    };
    let bootstrap = Bootstrap {
        order: id.clone(),
        attempt,
        ca_pem: "-----BEGIN CERTIFICATE-----".into(),
        runner_name: "runner".into(),
        secret: SecretBytes::new(secret(id.as_str()).into_bytes()),
        clocks: Clocks {
            boot: Duration::from_mins(10),
            attached,
            ..Clocks::default()
        },
    };
    let draft = OrderDraft {
        count,
        tags: &tags,
        bootstrap: &bootstrap,
        avoid: &[],
        zone: None,
    };
    let request = provider.render(&draft).expect("rendered");
    LaunchOrder {
        id,
        attempt,
        count,
        request,
    }
}
