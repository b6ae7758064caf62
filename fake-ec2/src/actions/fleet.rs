//! `CreateFleet` of type `instant`: several types, zones and markets in one
//! call, as much as there is, and an error for each place that had too little.
//!
//! "Configure an EC2 Fleet of type instant" (docs.aws.amazon.com/AWSEC2/latest/
//! UserGuide/instant-fleet.html). Weights are whole numbers here.

use std::cmp::Reverse;

use crate::actions::launch::{Wish, millionths};
use crate::actions::run::over_quota;
use crate::actions::tags::{self, ByKind};
use crate::actions::{answer, templates, tokens};
use crate::catalog::Zone;
use crate::cloud::{Context, Market, Planned, Template, uuid};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) const PARAMS: &[&str] = &[
    "ClientToken",
    "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateId",
    "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateName",
    "LaunchTemplateConfigs.LaunchTemplateSpecification.Version",
    "LaunchTemplateConfigs.Overrides.AvailabilityZone",
    "LaunchTemplateConfigs.Overrides.ImageId",
    "LaunchTemplateConfigs.Overrides.InstanceType",
    "LaunchTemplateConfigs.Overrides.MaxPrice",
    "LaunchTemplateConfigs.Overrides.Priority",
    "LaunchTemplateConfigs.Overrides.SubnetId",
    "LaunchTemplateConfigs.Overrides.WeightedCapacity",
    "OnDemandOptions.AllocationStrategy",
    "OnDemandOptions.MinTargetCapacity",
    "OnDemandOptions.SingleAvailabilityZone",
    "OnDemandOptions.SingleInstanceType",
    "SpotOptions.AllocationStrategy",
    "SpotOptions.InstanceInterruptionBehavior",
    "SpotOptions.MinTargetCapacity",
    "SpotOptions.SingleAvailabilityZone",
    "SpotOptions.SingleInstanceType",
    "TargetCapacitySpecification.DefaultTargetCapacityType",
    "TargetCapacitySpecification.OnDemandTargetCapacity",
    "TargetCapacitySpecification.SpotTargetCapacity",
    "TargetCapacitySpecification.TotalTargetCapacity",
    "Type",
];

/// A place where machines may come from: one override in one zone.
#[derive(Debug)]
struct Source {
    template: Template,
    overrides: Params,
    zone: Zone,
    wish: Wish,
    priority: f64,
    weight: u32,
}

/// A place that can give nothing, or less than was asked.
#[derive(Debug)]
struct Short {
    specification: Element,
    market: Market,
    error: ApiError,
}

pub(crate) fn create_fleet(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    if params.text("Type") != Some("instant") {
        return Err(ApiError::new(
            "UnsupportedOperation",
            "fake-ec2 knows fleets of type instant only.",
        ));
    }
    let key = tokens::key("CreateFleet", None, 64, params)?;
    if let Some(spent) = tokens::spent(context, key.as_ref(), params)?
        && let Some(answer) = spent.answer
    {
        return Ok(answer);
    }
    let extra = tags::specifications(
        params,
        &["fleet", "instance", "volume", "network-interface"],
    )?;
    let fleet = format!("fleet-{}", uuid(context.rng));
    let mut launched = Vec::new();
    let mut made = Vec::new();
    let mut errors = Vec::new();
    for (market, target) in targets(params)? {
        let options = params
            .at(match market {
                Market::Spot => "SpotOptions",
                Market::OnDemand => "OnDemandOptions",
            })
            .cloned()
            .unwrap_or_default();
        let sources = sources(context, params, market, &mut errors)?;
        let sources = ranked(context, sources, &options)?;
        let plan = plan(context, &sources, target, &mut errors);
        let total: u32 = plan
            .iter()
            .map(|(index, count)| count * sources[*index].weight)
            .sum();
        if options
            .number::<u32>("MinTargetCapacity")?
            .is_some_and(|least| total < least)
        {
            continue;
        }
        for (index, count) in plan {
            let source = &sources[index];
            let wish = tagged(source, &extra, &fleet);
            let reservation = context.new_id("r");
            let ids = wish.launch(context, &source.zone, &reservation, count);
            launched.push(fleet_instance(source, &ids));
            made.extend(ids);
        }
    }
    let answer = answer("CreateFleetResponse")
        .with("fleetId", &fleet)
        .list("errorSet", errors.into_iter().map(fleet_error))
        .list("fleetInstanceSet", launched);
    tokens::spend(context, key, params, &fleet, &made, Some(answer.clone()));
    Ok(answer)
}

/// How much of each market is asked for, in units.
fn targets(params: &Params) -> Result<Vec<(Market, u32)>, ApiError> {
    let specification = params
        .at("TargetCapacitySpecification")
        .ok_or_else(|| ApiError::missing("TargetCapacitySpecification"))?;
    let total: u32 = specification
        .number("TotalTargetCapacity")?
        .ok_or_else(|| ApiError::missing("TargetCapacitySpecification.TotalTargetCapacity"))?;
    let mut on_demand: u32 = specification.number("OnDemandTargetCapacity")?.unwrap_or(0);
    let mut spot: u32 = specification.number("SpotTargetCapacity")?.unwrap_or(0);
    let Some(rest) = total.checked_sub(on_demand.saturating_add(spot)) else {
        return Err(ApiError::new(
            "InvalidTargetCapacitySpecification",
            "The sum of the on-demand and spot target capacities exceeds the total.",
        ));
    };
    match specification.text("DefaultTargetCapacityType") {
        Some("spot") => spot += rest,
        None | Some("on-demand") => on_demand += rest,
        Some(other) => return Err(ApiError::invalid("DefaultTargetCapacityType", other)),
    }
    Ok([(Market::OnDemand, on_demand), (Market::Spot, spot)]
        .into_iter()
        .filter(|(_, target)| *target > 0)
        .collect())
}

/// The places of a market, in the order of the request. One whose launch could
/// never work is an error of the answer, not of the call.
fn sources(
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
fn ranked(
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

/// How many machines from which place, and where there were too few.
fn plan(
    context: &Context<'_>,
    sources: &[Source],
    target: u32,
    errors: &mut Vec<Short>,
) -> Vec<(usize, u32)> {
    let mut planned: Vec<Planned> = Vec::new();
    let mut plan = Vec::new();
    let mut missing = target;
    let mut vcpus = None;
    for (index, source) in sources.iter().enumerate() {
        if missing == 0 {
            break;
        }
        let (wish, zone) = (&source.wish, &source.zone.name);
        let left = vcpus.get_or_insert_with(|| context.vcpus_left(wish.market));
        let wanted = missing.div_ceil(source.weight);
        let room = context
            .room_beside(&wish.kind.name, zone, wish.market, &planned)
            .min(context.addresses_left(zone));
        let allowed = *left / wish.kind.vcpus;
        let count = match wish.check_price(zone) {
            Ok(()) => wanted.min(room).min(allowed),
            Err(_) => 0,
        };
        if count < wanted {
            let error = match wish.check_price(zone) {
                Err(error) => error,
                Ok(()) if room <= allowed => ApiError::no_capacity(&wish.kind.name, zone),
                Ok(()) => over_quota(context, wish.market),
            };
            errors.push(Short {
                specification: specification(&source.template, &source.overrides),
                market: wish.market,
                error,
            });
        }
        if count > 0 {
            *left -= count * wish.kind.vcpus;
            missing = missing.saturating_sub(count * source.weight);
            planned.push(Planned {
                instance_type: wish.kind.name.clone(),
                zone: zone.clone(),
                market: wish.market,
                count,
            });
            plan.push((index, count));
        }
    }
    plan
}

/// A place's wish with the fleet's tags, and those that AWS adds.
fn tagged(source: &Source, extra: &ByKind, fleet: &str) -> Wish {
    let mut wish = source.wish.clone();
    for (kind, tags) in extra.iter().filter(|(kind, _)| *kind != "fleet") {
        wish.tags
            .entry(kind.clone())
            .or_default()
            .extend(tags.clone());
    }
    let instance = wish.tags.entry("instance".to_owned()).or_default();
    for (key, value) in [
        ("aws:ec2:fleet-id", fleet),
        ("aws:ec2launchtemplate:id", &source.template.id),
        ("aws:ec2launchtemplate:version", "1"),
    ] {
        instance.insert(key.to_owned(), value.to_owned());
    }
    wish
}

fn specification(template: &Template, overrides: &Params) -> Element {
    let text = |name| overrides.text(name);
    Element::new("launchTemplateAndOverrides")
        .child(
            Element::new("launchTemplateSpecification")
                .with("launchTemplateId", &template.id)
                .with("version", 1),
        )
        .child(
            Element::new("overrides")
                .maybe("instanceType", text("InstanceType"))
                .maybe("maxPrice", text("MaxPrice"))
                .maybe("subnetId", text("SubnetId"))
                .maybe("availabilityZone", text("AvailabilityZone"))
                .maybe("weightedCapacity", text("WeightedCapacity"))
                .maybe("priority", text("Priority"))
                .maybe("imageId", text("ImageId")),
        )
}

fn fleet_instance(source: &Source, ids: &[String]) -> Element {
    Element::new("item")
        .child(specification(&source.template, &source.overrides))
        .with("lifecycle", source.wish.market.name())
        .list("instanceIds", ids.iter().map(|id| Element::of("item", id)))
        .with("instanceType", &source.wish.kind.name)
}

fn fleet_error(short: Short) -> Element {
    Element::new("item")
        .child(short.specification)
        .with("lifecycle", short.market.name())
        .with("errorCode", short.error.code)
        .with("errorMessage", short.error.message)
}
