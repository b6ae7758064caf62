//! What EC2 has under a deployment's tag, page by page.

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName, Reservation};
use vmpool_core::{Listed, ListedState, Listing, Owner, ProviderError};

use crate::account::Ec2Account;
use crate::calls::{address_of, seat_of};
use crate::failure::failed;
use crate::tags;
use crate::template::Network;

/// Most instances that EC2 describes in one answer.
const PAGE: i32 = 1000;

/// All machines of `owner`, of every deployment id and in every state. Those
/// that don't tell how their agents are reached are reached by `network`.
///
/// # Errors
/// The first page was refused. A listing that breaks off later is incomplete.
pub(crate) async fn list(
    account: &Ec2Account,
    owner: &Owner,
    network: &Network,
) -> Result<Listing, ProviderError> {
    let begun_at = account.clock().now();
    let ours = Filter::builder()
        .name(format!("tag:{}", tags::OWNER))
        .values(owner.as_str())
        .build();
    let mut pages = account
        .ec2()
        .describe_instances()
        .filters(ours)
        .max_results(PAGE)
        .into_paginator()
        // An empty page may repeat its token: for the SDK that is the end, and
        // the machines after it would count as absent.
        .stop_on_duplicate_token(false)
        .send();
    let mut listing = Listing {
        begun_at,
        complete: true,
        machines: Vec::new(),
    };
    let mut seats = Vec::new();
    let mut first = true;
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) if first => {
                return Err(failed(format!("list the machines of {owner}"), &error));
            }
            Err(error) => {
                let error = failed("read a further page", &error);
                tracing::warn!(%owner, %error, "a listing broke off");
                listing.complete = false;
                break;
            }
        };
        first = false;
        let instances = page.reservations().iter().flat_map(Reservation::instances);
        let machines = instances.filter_map(|instance| {
            let machine = listed(instance, network)?;
            seats.extend(seat_of(instance).map(|seat| (machine.id.clone(), seat)));
            Some(machine)
        });
        listing.machines.extend(machines);
    }
    account.are_in(seats.into_iter(), listing.complete);
    Ok(listing)
}

fn listed(instance: &Instance, network: &Network) -> Option<Listed> {
    let id = instance.instance_id()?;
    let Some(tags) = tags::read(instance.tags()) else {
        // Somebody changed them by hand: nothing can be decided of it here.
        tracing::warn!(machine = id, "the tags of a machine are damaged");
        return None;
    };
    // Another pool's machines may be reached in another way.
    let reach = tags::reach(instance.tags()).unwrap_or_else(|| network.reach());
    Some(Listed {
        id: id.into(),
        tags,
        state: state(instance.state()?.name()?),
        address: address_of(instance, reach),
    })
}

fn state(name: &InstanceStateName) -> ListedState {
    match name {
        InstanceStateName::Terminated => ListedState::Terminated,
        InstanceStateName::ShuttingDown => ListedState::Ending,
        InstanceStateName::Stopped | InstanceStateName::Stopping => ListedState::Suspended,
        // A state that EC2 adds later costs money until it says otherwise.
        _ => ListedState::Alive,
    }
}
