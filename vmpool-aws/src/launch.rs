//! A launch: by RunInstances where there is one place, else by a fleet.

use aws_sdk_ec2::Client;
use vmpool_core::{LaunchOrder, LaunchOutcome};

use crate::failure::not_launched;
use crate::request::Request;
use crate::{fleet, run};

/// Launches an order's machines.
pub(crate) async fn launch(client: &Client, order: &LaunchOrder) -> LaunchOutcome {
    let request = match Request::of(order) {
        Ok(request) => request,
        Err(error) => return not_launched(order.count, error, true),
    };
    match request.offers.as_slice() {
        [only] => run::run(client, &request, only).await,
        _ => fleet::launch(client, &request).await,
    }
}
