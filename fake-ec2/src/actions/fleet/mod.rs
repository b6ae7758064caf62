//! `CreateFleet` of type `instant`: several types, zones and markets in one
//! call, as much as there is, and an error for each place that had too little.
//!
//! "Configure an EC2 Fleet of type instant" (docs.aws.amazon.com/AWSEC2/latest/
//! UserGuide/instant-fleet.html). Weights are whole numbers here.

mod source;

use self::source::{Source, ranked, sources};
use crate::actions::launch::Wish;
use crate::actions::run::over_quota;
use crate::actions::tags::{self, ByKind};
use crate::actions::{answer, tokens};
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
