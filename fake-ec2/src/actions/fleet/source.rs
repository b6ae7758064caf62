//! Where a fleet's machines may come from, and in which order it asks there.

use std::cmp::Reverse;

use super::{Short, specification};
use crate::actions::launch::{Wish, millionths};
use crate::actions::templates;
use crate::catalog::Zone;
use crate::cloud::{Context, Market, Template};
use crate::error::ApiError;
use crate::params::Params;

/// A place where machines may come from: one override in one zone.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) template: Template,
    pub(super) overrides: Params,
    pub(super) zone: Zone,
    pub(super) wish: Wish,
    pub(super) priority: f64,
    pub(super) weight: u32,
}

/// The places of a market, in the order of the request. One whose launch could
/// never work is an error of the answer, not of the call.
pub(super) fn sources(
    context: &mut Context<'_>,
    params: &Params,
    market: Market,
    errors: &mut Vec<Short>,
) -> Result<Vec<Source>, ApiError> {
    let mut sources = Vec::new();
    for config in params.list("LaunchTemplateConfigs") {
        let named = config.at("LaunchTemplateSpecification").ok_or_else(|| {
            ApiError::missing("LaunchTemplateConfigs.LaunchTemplateSpecification")
        })?;
        let template = templates::find(context, named)?;
        templates::check_version(named)?;
        if template.data.at("InstanceMarketOptions").is_some() {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                "A launch template of a fleet may not say InstanceMarketOptions.",
            ));
        }
        let overrides = config.list("Overrides");
        let plain = Params::default();
        let overrides = if overrides.is_empty() {
            vec![&plain]
        } else {
            overrides
        };
        for one in overrides {
            for subnet in subnets(one) {
                let asked = wish_params(&template, one, subnet, market, params)?;
                match Wish::read(context, &asked) {
                    Err(error) => errors.push(Short {
                        specification: specification(&template, one),
                        market,
                        error,
                    }),
                    Ok(wish) => {
                        sources.extend(in_zones(context, &template, one, &wish)?);
                    }
                }
            }
        }
    }
    Ok(sources)
}

/// "SubnetId: the IDs of the subnets, separated by commas".
fn subnets(overrides: &Params) -> Vec<Option<&str>> {
    match overrides.text("SubnetId") {
        None => vec![None],
        Some(ids) => ids.split(',').map(|id| Some(id.trim())).collect(),
    }
}

fn wish_params(
    template: &Template,
    overrides: &Params,
    subnet: Option<&str>,
    market: Market,
    request: &Params,
) -> Result<Params, ApiError> {
    let mut asked = template.data.clone();
    for name in ["InstanceType", "ImageId"] {
        if let Some(value) = overrides.text(name) {
            asked.set(name, value.to_owned())?;
        }
    }
    if let Some(zone) = overrides.text("AvailabilityZone") {
        asked.set("Placement.AvailabilityZone", zone.to_owned())?;
    }
    if let Some(subnet) = subnet {
        let name = if asked.at("NetworkInterface").is_some() {
            "NetworkInterface.1.SubnetId"
        } else {
            "SubnetId"
        };
        asked.set(name, subnet.to_owned())?;
    }
    asked.set("InstanceMarketOptions.MarketType", market.name().to_owned())?;
    if market == Market::Spot {
        for (name, value) in [
            ("MaxPrice", overrides.text("MaxPrice")),
            (
                "InstanceInterruptionBehavior",
                request.text("SpotOptions.InstanceInterruptionBehavior"),
            ),
        ] {
            if let Some(value) = value {
                let name = format!("InstanceMarketOptions.SpotOptions.{name}");
                asked.set(&name, value.to_owned())?;
            }
        }
    } else if let Some(price) = overrides.text("MaxPrice") {
        millionths(price)?;
    }
    Ok(asked)
}

fn in_zones(
    context: &Context<'_>,
    template: &Template,
    overrides: &Params,
    wish: &Wish,
) -> Result<Vec<Source>, ApiError> {
    let priority = overrides.number("Priority")?.unwrap_or(f64::MAX);
    let weight: u32 = overrides.number("WeightedCapacity")?.unwrap_or(1);
    if weight == 0 {
        return Err(ApiError::invalid("WeightedCapacity", "0"));
    }
    let zones = match &wish.zone {
        Some(zone) => vec![zone.clone()],
        None => context.place.zones.clone(),
    };
    Ok(zones
        .into_iter()
        .filter(|zone| wish.kind.offered_in(&zone.name))
        .map(|zone| Source {
            template: template.clone(),
            overrides: overrides.clone(),
            zone,
            wish: wish.clone(),
            priority,
            weight,
        })
        .collect())
}

/// The places in the order of the allocation strategy.
pub(super) fn ranked(
    context: &Context<'_>,
    mut sources: Vec<Source>,
    options: &Params,
) -> Result<Vec<Source>, ApiError> {
    let room = |source: &Source| {
        context.room(
            &source.wish.kind.name,
            &source.zone.name,
            source.wish.market,
        )
    };
    let price = |source: &Source| match source.wish.market {
        Market::Spot => source.wish.kind.spot_price(&source.zone.name) / u64::from(source.weight),
        Market::OnDemand => source.wish.kind.price / u64::from(source.weight),
    };
    // Sorting is stable: what is equal stays in the request's order.
    match options.text("AllocationStrategy") {
        None | Some("lowest-price" | "lowestPrice") => sources.sort_by_key(price),
        Some("prioritized") => sources.sort_by(|a, b| a.priority.total_cmp(&b.priority)),
        Some("capacity-optimized") => sources.sort_by_key(|source| Reverse(room(source))),
        Some("capacity-optimized-prioritized") => sources.sort_by(|a, b| {
            (room(a) == 0)
                .cmp(&(room(b) == 0))
                .then(a.priority.total_cmp(&b.priority))
        }),
        Some("price-capacity-optimized") => {
            sources.sort_by_key(|source| (Reverse(room(source)), price(source)));
        }
        Some("diversified") => {}
        Some(other) => return Err(ApiError::invalid("AllocationStrategy", other)),
    }
    let single = |name| options.flag(name).map(|flag| flag == Some(true));
    let (one_type, one_zone) = (
        single("SingleInstanceType")?,
        single("SingleAvailabilityZone")?,
    );
    if options.at("MinTargetCapacity").is_some() && !one_type && !one_zone {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "MinTargetCapacity requires SingleAvailabilityZone or SingleInstanceType.",
        ));
    }
    let first = sources
        .iter()
        .find(|source| room(source) > 0)
        .or_else(|| sources.first())
        .map(|source| (source.wish.kind.name.clone(), source.zone.name.clone()));
    if let Some((kind, zone)) = first {
        sources.retain(|source| {
            (!one_type || source.wish.kind.name == kind) && (!one_zone || source.zone.name == zone)
        });
    }
    Ok(sources)
}
