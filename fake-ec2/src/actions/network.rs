//! Where machines are: regions, zones, and the account's default network.

use crate::actions::answer;
use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::catalog::{Place, Zone, fixed_id};
use crate::cloud::{Context, Tags};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn describe_regions(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let filters = Filters::read(params, &["region-name", "opt-in-status", "endpoint"])?;
    let names = params.texts("RegionName");
    for name in &names {
        if context.catalog.region(name).is_none() {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Invalid region provided: {name}"),
            ));
        }
    }
    let endpoint = |region: &Place| format!("ec2.{}.amazonaws.com", region.name);
    let shown = context
        .catalog
        .regions
        .iter()
        .filter(|region| names.is_empty() || names.contains(&region.name.as_str()))
        .filter(|region| {
            filters.pass(&Tags::new(), |name| {
                vec![match name {
                    "region-name" => region.name.clone(),
                    "endpoint" => endpoint(region),
                    _ => "opt-in-not-required".to_owned(),
                }]
            })
        })
        .map(|region| {
            Element::new("item")
                .with("regionName", &region.name)
                .with("regionEndpoint", endpoint(region))
                .with("optInStatus", "opt-in-not-required")
        });
    Ok(answer("DescribeRegionsResponse").list("regionInfo", shown))
}

pub(crate) fn describe_availability_zones(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let filters = Filters::read(params, &["zone-name", "zone-id", "state", "region-name"])?;
    let names = params.texts("ZoneName");
    let ids = params.texts("ZoneId");
    let place = context.place;
    for name in &names {
        if place.zone(name).is_none() {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Invalid availability zone: [{name}]"),
            ));
        }
    }
    let shown = place
        .zones
        .iter()
        .filter(|zone| names.is_empty() || names.contains(&zone.name.as_str()))
        .filter(|zone| ids.is_empty() || ids.contains(&zone.id.as_str()))
        .filter(|zone| {
            filters.pass(&Tags::new(), |name| {
                vec![match name {
                    "zone-name" => zone.name.clone(),
                    "zone-id" => zone.id.clone(),
                    "region-name" => place.name.clone(),
                    _ => "available".to_owned(),
                }]
            })
        })
        .map(|zone| {
            Element::new("item")
                .with("zoneName", &zone.name)
                .with("zoneState", "available")
                .with("regionName", &place.name)
                .list("messageSet", [])
                .with("zoneId", &zone.id)
                .with("zoneType", "availability-zone")
                .with("groupName", format!("{}-zg-1", place.name))
                .with("networkBorderGroup", &place.name)
                .with("optInStatus", "opt-in-not-required")
        });
    Ok(answer("DescribeAvailabilityZonesResponse").list("availabilityZoneInfo", shown))
}

pub(crate) fn describe_vpcs(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let filters = Filters::read(
        params,
        &[
            "vpc-id",
            "is-default",
            "state",
            "cidr",
            "owner-id",
            "tag-key",
        ],
    )?;
    let vpc = context.place.vpc(context.account);
    let ids = params.texts("VpcId");
    unknown("InvalidVpcID", "vpc ID", &ids, |id| *id == vpc)?;
    let passes = filters.pass(&Tags::new(), |name| {
        vec![match name {
            "vpc-id" => vpc.clone(),
            "is-default" => "true".to_owned(),
            "cidr" => context.place.cidr(),
            "owner-id" => context.account.to_owned(),
            _ => "available".to_owned(),
        }]
    });
    let element = Element::new("item")
        .with("vpcId", &vpc)
        .with("ownerId", context.account)
        .with("state", "available")
        .with("cidrBlock", context.place.cidr())
        .list(
            "cidrBlockAssociationSet",
            [Element::new("item")
                .with("cidrBlock", context.place.cidr())
                .with("associationId", fixed_id("vpc-cidr-assoc", &[&vpc]))
                .child(Element::new("cidrBlockState").with("state", "associated"))],
        )
        .with("dhcpOptionsId", fixed_id("dopt", &[&vpc]))
        .list("tagSet", [])
        .with("instanceTenancy", "default")
        .with("isDefault", true);
    Ok(answer("DescribeVpcsResponse").list("vpcSet", passes.then_some(element)))
}

pub(crate) fn describe_subnets(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "availability-zone",
        "availability-zone-id",
        "cidr-block",
        "default-for-az",
        "map-public-ip-on-launch",
        "owner-id",
        "state",
        "subnet-id",
        "tag-key",
        "vpc-id",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let (place, account) = (context.place, context.account);
    let ids = params.texts("SubnetId");
    unknown("InvalidSubnetID", "subnet ID", &ids, |id| {
        place.zone_of_subnet(account, id).is_some()
    })?;
    let found: Vec<Zone> = place
        .zones
        .iter()
        .filter(|zone| ids.is_empty() || ids.contains(&place.subnet(account, zone).as_str()))
        .filter(|zone| {
            filters.pass(&Tags::new(), |name| {
                vec![match name {
                    "availability-zone" => zone.name.clone(),
                    "availability-zone-id" => zone.id.clone(),
                    "cidr-block" => place.subnet_cidr(zone),
                    "owner-id" => account.to_owned(),
                    "state" => "available".to_owned(),
                    "subnet-id" => place.subnet(account, zone),
                    "vpc-id" => place.vpc(account),
                    _ => "true".to_owned(),
                }]
            })
        })
        .cloned()
        .collect();
    let page = page(context, params, 5..=1000, found, |zone| {
        place.subnet(account, zone)
    })?;
    Ok(answer("DescribeSubnetsResponse")
        .list(
            "subnetSet",
            page.items.iter().map(|zone| subnet(context, zone)),
        )
        .maybe("nextToken", page.next))
}

fn subnet(context: &Context<'_>, zone: &Zone) -> Element {
    let (place, account) = (context.place, context.account);
    let id = place.subnet(account, zone);
    Element::new("item")
        .with("subnetId", &id)
        .with(
            "subnetArn",
            format!("arn:aws:ec2:{}:{account}:subnet/{id}", place.name),
        )
        .with("state", "available")
        .with("ownerId", account)
        .with("vpcId", place.vpc(account))
        .with("cidrBlock", place.subnet_cidr(zone))
        .list("ipv6CidrBlockAssociationSet", [])
        .with(
            "availableIpAddressCount",
            context.addresses_left(&zone.name),
        )
        .with("availabilityZone", &zone.name)
        .with("availabilityZoneId", &zone.id)
        .with("defaultForAz", true)
        .with("mapPublicIpOnLaunch", true)
        .with("assignIpv6AddressOnCreation", false)
        .list("tagSet", [])
}

pub(crate) fn describe_route_tables(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "association.main",
        "association.subnet-id",
        "route-table-id",
        "vpc-id",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let (place, account) = (context.place, context.account);
    let vpc = place.vpc(account);
    let table = fixed_id("rtb", &[&vpc]);
    let ids = params.texts("RouteTableId");
    unknown("InvalidRouteTableID", "routeTable ID", &ids, |id| {
        *id == table
    })?;
    let passes = filters.pass(&Tags::new(), |name| {
        match name {
            "association.main" => vec!["true".to_owned()],
            "route-table-id" => vec![table.clone()],
            "vpc-id" => vec![vpc.clone()],
            // The main table is associated with its subnets implicitly, which
            // this filter does not find.
            _ => Vec::new(),
        }
    });
    let route = |cidr: &str, gateway: &str, origin: &str| {
        Element::new("item")
            .with("destinationCidrBlock", cidr)
            .with("gatewayId", gateway)
            .with("state", "active")
            .with("origin", origin)
    };
    let element = Element::new("item")
        .with("routeTableId", &table)
        .with("vpcId", &vpc)
        .with("ownerId", account)
        .list(
            "routeSet",
            [
                route(&place.cidr(), "local", "CreateRouteTable"),
                route("0.0.0.0/0", &fixed_id("igw", &[&vpc]), "CreateRoute"),
            ],
        )
        .list(
            "associationSet",
            [Element::new("item")
                .with("routeTableAssociationId", fixed_id("rtbassoc", &[&vpc]))
                .with("routeTableId", &table)
                .with("main", true)],
        )
        .list("propagatingVgwSet", [])
        .list("tagSet", []);
    Ok(answer("DescribeRouteTablesResponse").list("routeTableSet", passes.then_some(element)))
}

fn unknown(
    kind: &'static str,
    what: &str,
    ids: &[&str],
    known: impl Fn(&&str) -> bool,
) -> Result<(), ApiError> {
    match ids.iter().find(|id| !known(id)) {
        None => Ok(()),
        Some(id) => Err(ApiError::not_found(kind, what, &[id])),
    }
}
