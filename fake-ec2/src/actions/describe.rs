//! `DescribeInstances`, `DescribeInstanceStatus`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::actions::filter::Filters;
use crate::actions::page::{Page, page};
use crate::actions::{answer, show};
use crate::clock::iso;
use crate::cloud::{Context, Instance, Market, State};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// The filters of the API's page that fit what instances here have.
const FILTERS: &[&str] = &[
    "architecture",
    "availability-zone",
    "client-token",
    "hibernation-options.configured",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "network-interface.network-interface-id",
    "owner-id",
    "private-ip-address",
    "reason",
    "reservation-id",
    "spot-instance-request-id",
    "state-reason-code",
    "subnet-id",
    "tag-key",
    "vpc-id",
];

pub(crate) fn describe_instances(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let Page { items, next } = select(context, params, FILTERS, 5, |_| true)?;
    let mut reservations: BTreeMap<String, Vec<Arc<Instance>>> = BTreeMap::new();
    for instance in items {
        reservations
            .entry(instance.reservation.clone())
            .or_default()
            .push(instance);
    }
    Ok(answer("DescribeInstancesResponse")
        .list(
            "reservationSet",
            reservations.iter().map(|(id, instances)| {
                show::reservation(Element::new("item"), context, id, instances)
            }),
        )
        .maybe("nextToken", next))
}

pub(crate) fn describe_instance_status(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "availability-zone",
        "instance-state-code",
        "instance-state-name",
    ];
    let all = params.flag("IncludeAllInstances")?.unwrap_or(false);
    let Page { items, next } = select(context, params, FILTERS, 5, |instance| {
        all || instance.state == State::Running
    })?;
    Ok(answer("DescribeInstanceStatusResponse")
        .list("instanceStatusSet", items.iter().map(|one| status(one)))
        .maybe("nextToken", next))
}

fn status(instance: &Instance) -> Element {
    let (summary, detail) = match instance.state {
        State::Running => ("ok", "passed"),
        _ => ("not-applicable", "insufficient-data"),
    };
    let check = |name| {
        Element::new(name).with("status", summary).list(
            "details",
            [Element::new("item")
                .with("name", "reachability")
                .with("status", detail)],
        )
    };
    Element::new("item")
        .with("instanceId", &instance.id)
        .with("availabilityZone", &instance.zone)
        .list("eventsSet", [])
        .child(show::state("instanceState", instance.state))
        .child(check("systemStatus"))
        .child(check("instanceStatus"))
}

fn select(
    context: &mut Context<'_>,
    params: &Params,
    known: &[&str],
    smallest: usize,
    also: impl Fn(&Instance) -> bool,
) -> Result<Page<Arc<Instance>>, ApiError> {
    let filters = Filters::read(params, known)?;
    let ids = params.texts("InstanceId");
    let account = context.account;
    let passes = |instance: &Instance| {
        also(instance) && filters.pass(&instance.tags, |name| field(account, instance, name))
    };
    let found = if ids.is_empty() {
        context.visible_instances(passes)
    } else {
        if params.at("MaxResults").is_some() {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            ));
        }
        let mut named = context.named_instances(&ids)?;
        named.retain(|instance| passes(instance));
        named
    };
    page(context, params, smallest..=1000, found, |one| {
        one.id.clone()
    })
}

fn field(account: &str, one: &Instance, name: &str) -> Vec<String> {
    let value = match name {
        "architecture" => one.architecture.to_owned(),
        "availability-zone" => one.zone.clone(),
        "client-token" => one.client_token.clone(),
        "hibernation-options.configured" => one.hibernation.to_string(),
        "image-id" => one.image.clone(),
        "instance-id" => one.id.clone(),
        "instance-lifecycle" if one.market == Market::Spot => "spot".to_owned(),
        "instance-state-code" => one.state.code().to_string(),
        "instance-state-name" => one.state.name().to_owned(),
        "instance-type" => one.instance_type.clone(),
        "instance.group-id" => return one.groups.clone(),
        "ip-address" => return one.public_address.iter().map(ToString::to_string).collect(),
        "key-name" => return one.key_name.iter().cloned().collect(),
        "launch-index" => one.launch_index.to_string(),
        "launch-time" => iso(one.launched),
        "metadata-options.http-tokens" => one.metadata.tokens.clone(),
        "network-interface.network-interface-id" => one.interface.clone(),
        "owner-id" => account.to_owned(),
        "private-ip-address" => one.private_address.to_string(),
        "reason" => return one.reason.iter().map(|it| it.transition.clone()).collect(),
        "reservation-id" => one.reservation.clone(),
        "spot-instance-request-id" => return one.spot_request.iter().cloned().collect(),
        "state-reason-code" => return one.reason.iter().map(|it| it.code.clone()).collect(),
        "subnet-id" => one.subnet.clone(),
        "vpc-id" => one.vpc.clone(),
        _ => return Vec::new(),
    };
    vec![value]
}
