//! A launch: by RunInstances where there is one place, else by a fleet.

use vmpool_core::{LaunchOrder, LaunchOutcome};

use crate::account::Ec2Account;
use crate::failure::not_launched;
use crate::request::Request;
use crate::{fleet, run};

/// Launches an order's machines.
pub(crate) async fn launch(account: &Ec2Account, order: &LaunchOrder) -> LaunchOutcome {
    let request = match Request::of(order) {
        Ok(request) => request,
        Err(error) => return not_launched(order.count, error, true),
    };
    match request.offers.as_slice() {
        [only] => run::run(account, &request, only).await,
        _ => fleet::launch(account, &request).await,
    }
}
