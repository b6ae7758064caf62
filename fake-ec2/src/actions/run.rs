//! `RunInstances`: all in one zone, at least the least, or nothing.

use crate::actions::launch::{self, Wish};
use crate::actions::{answer, show, templates, tokens};
use crate::catalog::Zone;
use crate::cloud::{Context, Market, State};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn run_instances(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let whole = templates::lay_over_template(context, params)?;
    let counts = counts(params)?;
    let wish = Wish::read(context, &whole)?;
    // "RunInstances idempotency": zonal where the request names a zone.
    let zone = wish.zone.as_ref().map(|zone| zone.name.clone());
    let key = tokens::key("RunInstances", zone, 64, params)?;
    if let Some(spent) = tokens::spent(context, key.as_ref(), params)? {
        return repeated(context, &spent.made, &spent.instances);
    }
    check_quota(context, &wish, counts.1)?;
    let (zone, count) = place(context, &wish, counts)?;
    let reservation = context.new_id("r");
    let instances = wish.launch(context, &zone, &reservation, count);
    tokens::spend(context, key, params, &reservation, &instances, None);
    Ok(reservation_answer(context, &reservation, &instances))
}

fn counts(params: &Params) -> Result<(u32, u32), ApiError> {
    let missing = |name| move || ApiError::missing(name);
    let least: u32 = params.number("MinCount")?.ok_or_else(missing("MinCount"))?;
    let most: u32 = params.number("MaxCount")?.ok_or_else(missing("MaxCount"))?;
    if least == 0 || most < least {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("The values minCount={least} and maxCount={most} are not valid together"),
        ));
    }
    Ok((least, most))
}

/// "MaxCount: between 1 and the quota for the specified instance type": what
/// the quota forbids is refused, not cut down.
fn check_quota(context: &Context<'_>, wish: &Wish, most: u32) -> Result<(), ApiError> {
    if most.saturating_mul(wish.kind.vcpus) <= context.vcpus_left(wish.market) {
        return Ok(());
    }
    Err(over_quota(context, wish.market))
}

/// The refusal by a market's quota.
pub(crate) fn over_quota(context: &Context<'_>, market: Market) -> ApiError {
    match market {
        Market::Spot => ApiError::new(
            "MaxSpotInstanceCountExceeded",
            "Max spot instance count exceeded",
        ),
        Market::OnDemand => ApiError::new(
            "VcpuLimitExceeded",
            format!(
                "You have requested more vCPU capacity than your current vCPU limit of {} allows \
                 for the instance bucket that the specified instance type belongs to. Please visit \
                 http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this \
                 limit.",
                context.vcpu_quota(market)
            ),
        ),
    }
}

/// The zone, and how many of the most it gets: "the largest possible number of
/// instances above the specified minimum count".
fn place(
    context: &mut Context<'_>,
    wish: &Wish,
    (least, most): (u32, u32),
) -> Result<(Zone, u32), ApiError> {
    let mut zones = context.place.zones.clone();
    if let Some(zone) = &wish.zone {
        zones = vec![zone.clone()];
    } else {
        let start = context.rng.usize(..zones.len());
        zones.rotate_left(start);
        zones.retain(|zone| wish.kind.offered_in(&zone.name));
    }
    let mut best: Option<(Zone, u32)> = None;
    let mut refusal = None;
    for zone in zones {
        if let Err(error) = wish.check_price(&zone.name) {
            refusal = Some(error);
            continue;
        }
        if context.addresses_left(&zone.name) < least {
            refusal = Some(ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{}' to satisfy the requested \
                     number of instances.",
                    context.place.subnet(context.account, &zone)
                ),
            ));
            continue;
        }
        let room = context
            .room(&wish.kind.name, &zone.name, wish.market)
            .min(context.addresses_left(&zone.name))
            .min(most);
        if room < least {
            refusal = Some(ApiError::no_capacity(&wish.kind.name, &zone.name));
        } else if best.as_ref().is_none_or(|(_, most)| room > *most) {
            best = Some((zone, room));
        }
    }
    best.ok_or_else(|| {
        refusal.unwrap_or_else(|| launch::unsupported(context, &wish.kind, &context.place.name))
    })
}

fn repeated(
    context: &Context<'_>,
    reservation: &str,
    instances: &[String],
) -> Result<Element, ApiError> {
    let over = instances.iter().all(|id| {
        context
            .region
            .instances
            .get(id)
            .is_none_or(|instance| instance.current().state == State::Terminated)
    });
    if over {
        return Err(ApiError::new(
            "IdempotentInstanceTerminated",
            "The request to launch an instance uses the same client token as a previous request \
             for which the instance has been terminated.",
        ));
    }
    Ok(reservation_answer(context, reservation, instances))
}

/// The answer tells the truth: it comes from the call itself, not from a
/// replica.
fn reservation_answer(context: &Context<'_>, reservation: &str, ids: &[String]) -> Element {
    let instances: Vec<_> = ids
        .iter()
        .filter_map(|id| Some(context.region.instances.get(id)?.current().clone()))
        .collect();
    show::reservation(
        answer("RunInstancesResponse"),
        context,
        reservation,
        &instances,
    )
}
