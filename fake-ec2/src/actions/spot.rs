//! The spot market: prices and requests.

use std::collections::BTreeSet;

use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::actions::{answer, tags};
use crate::catalog::dollars;
use crate::clock::iso;
use crate::cloud::{Context, SpotRequest, Tags};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// Prices don't move here: each type's price in each zone, as of the start
/// time that was asked for, or of now. "If you specify a start time and no end
/// time, returns the prices that were current then and all later ones."
pub(crate) fn describe_spot_price_history(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "availability-zone",
        "instance-type",
        "product-description",
        "spot-price",
        "timestamp",
    ];
    const PRODUCTS: &[&str] = &["Linux/UNIX", "Windows"];
    let filters = Filters::read(params, FILTERS)?;
    let kinds = params.texts("InstanceType");
    let zone_asked = params.text("AvailabilityZone");
    let products = params.texts("ProductDescription");
    let timestamp = params
        .text("StartTime")
        .map_or_else(|| iso(context.now), str::to_owned);
    let mut found = Vec::new();
    for kind in &context.catalog.types {
        for zone in &context.place.zones {
            if !kind.offered_in(&zone.name) {
                continue;
            }
            for product in PRODUCTS {
                // The "(Amazon VPC)" names are the same products.
                let named = products
                    .iter()
                    .any(|asked| asked.trim_end_matches(" (Amazon VPC)") == *product);
                let price = match *product {
                    "Windows" => kind.spot_price(&zone.name) + u64::from(kind.vcpus) * 46_000,
                    _ => kind.spot_price(&zone.name),
                };
                let price = dollars(price);
                let passes = (kinds.is_empty() || kinds.contains(&kind.name.as_str()))
                    && zone_asked.is_none_or(|asked| asked == zone.name)
                    && (products.is_empty() || named)
                    && filters.pass(&Tags::new(), |name| {
                        vec![match name {
                            "availability-zone" => zone.name.clone(),
                            "instance-type" => kind.name.clone(),
                            "product-description" => (*product).to_owned(),
                            "spot-price" => price.clone(),
                            _ => timestamp.clone(),
                        }]
                    });
                if passes {
                    found.push((kind.name.clone(), zone.name.clone(), *product, price));
                }
            }
        }
    }
    let page = page(
        context,
        params,
        1..=1000,
        found,
        |(kind, zone, product, _)| format!("{kind} {zone} {product}"),
    )?;
    Ok(answer("DescribeSpotPriceHistoryResponse")
        .list(
            "spotPriceHistorySet",
            page.items.iter().map(|(kind, zone, product, price)| {
                Element::new("item")
                    .with("instanceType", kind)
                    .with("productDescription", product)
                    .with("spotPrice", price)
                    .with("timestamp", &timestamp)
                    .with("availabilityZone", zone)
            }),
        )
        // This one ends with an empty token instead of none.
        .with("nextToken", page.next.unwrap_or_default()))
}

pub(crate) fn describe_spot_instance_requests(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "instance-id",
        "launched-availability-zone",
        "spot-instance-request-id",
        "state",
        "status-code",
        "tag-key",
        "type",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let ids = params.texts("SpotInstanceRequestId");
    check_known(context, &ids)?;
    let found: Vec<SpotRequest> = context
        .region
        .spot_requests
        .values()
        .filter(|request| ids.is_empty() || ids.contains(&request.id.as_str()))
        .filter(|request| {
            filters.pass(&request.tags, |name| {
                vec![match name {
                    "instance-id" => request.instance.clone(),
                    "launched-availability-zone" => request.zone.clone(),
                    "spot-instance-request-id" => request.id.clone(),
                    "state" => request.state.to_owned(),
                    "status-code" => request.status.to_owned(),
                    "type" => kind(request).to_owned(),
                    _ => return Vec::new(),
                }]
            })
        })
        .cloned()
        .collect();
    let page = page(context, params, 5..=1000, found, |request| {
        request.id.clone()
    })?;
    Ok(answer("DescribeSpotInstanceRequestsResponse")
        .list("spotInstanceRequestSet", page.items.iter().map(request))
        .maybe("nextToken", page.next))
}

fn kind(request: &SpotRequest) -> &'static str {
    if request.persistent {
        "persistent"
    } else {
        "one-time"
    }
}

fn request(request: &SpotRequest) -> Element {
    Element::new("item")
        .with("spotInstanceRequestId", &request.id)
        .with("spotPrice", dollars(request.max_price))
        .with("type", kind(request))
        .with("state", request.state)
        .child(
            Element::new("status")
                .with("code", request.status)
                .with("updateTime", iso(request.updated))
                .with("message", words(request.status)),
        )
        .child(
            Element::new("launchSpecification")
                .with("imageId", &request.image)
                .with("instanceType", &request.instance_type),
        )
        .with("instanceId", &request.instance)
        .with("createTime", iso(request.created))
        .with("productDescription", "Linux/UNIX")
        .child(tags::set(&request.tags))
        .with("launchedAvailabilityZone", &request.zone)
        .with("instanceInterruptionBehavior", &request.interruption)
}

/// The sentences of "Spot request status" (docs.aws.amazon.com/AWSEC2/latest/
/// UserGuide/spot-request-status.html), in short.
fn words(status: &str) -> &'static str {
    match status {
        "fulfilled" => "Your Spot request is fulfilled.",
        "marked-for-termination" => "The Spot Instance is marked for termination.",
        "instance-terminated-no-capacity" => {
            "Your Spot Instance was terminated because there is no Spot capacity available."
        }
        "request-canceled-and-instance-running" => {
            "You canceled the Spot request while the Spot Instance was still running."
        }
        _ => "You terminated the Spot Instance.",
    }
}

/// Ends requests; their instances run on ("CancelSpotInstanceRequests").
pub(crate) fn cancel_spot_instance_requests(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let ids: BTreeSet<&str> = params.texts("SpotInstanceRequestId").into_iter().collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    if ids.is_empty() {
        return Err(ApiError::missing("SpotInstanceRequestId"));
    }
    check_known(context, &ids)?;
    for id in &ids {
        let active = context
            .region
            .spot_requests
            .get(*id)
            .is_some_and(|request| request.state == "active");
        if active {
            context.spot_status(id, "cancelled", "request-canceled-and-instance-running");
        }
    }
    Ok(answer("CancelSpotInstanceRequestsResponse").list(
        "spotInstanceRequestSet",
        ids.iter().map(|id| {
            let state = context
                .region
                .spot_requests
                .get(*id)
                .map_or("cancelled", |request| request.state);
            Element::new("item")
                .with("spotInstanceRequestId", id)
                .with("state", state)
        }),
    ))
}

fn check_known(context: &Context<'_>, ids: &[&str]) -> Result<(), ApiError> {
    match ids
        .iter()
        .find(|id| !context.region.spot_requests.contains_key(**id))
    {
        None => Ok(()),
        Some(id) => Err(ApiError::new(
            "InvalidSpotInstanceRequestID.NotFound",
            format!("The spot instance request ID '{id}' does not exist"),
        )),
    }
}
