//! Instances as the API writes them.

use std::sync::Arc;

use crate::actions::tags;
use crate::catalog::fixed_id;
use crate::clock::iso;
use crate::cloud::{Context, Instance, Interface, Market, State};
use crate::xml::Element;

/// A reservation, as `RunInstances` answers and `DescribeInstances` lists.
pub(crate) fn reservation(
    element: Element,
    context: &Context<'_>,
    id: &str,
    instances: &[Arc<Instance>],
) -> Element {
    element
        .with("reservationId", id)
        .with("ownerId", context.account)
        .list("groupSet", [])
        .list(
            "instancesSet",
            instances.iter().map(|one| instance(context, one)),
        )
}

/// A state, by the name that the place gives it.
pub(crate) fn state(name: &'static str, state: State) -> Element {
    Element::new(name)
        .with("code", state.code())
        .with("name", state.name())
}

/// An instance's groups.
pub(crate) fn groups(context: &Context<'_>, ids: &[String]) -> Element {
    Element::new("groupSet").children(ids.iter().map(|id| {
        let name = match context.region.groups.get(id) {
            Some(group) => group.current().name.clone(),
            None => "default".to_owned(),
        };
        Element::new("item")
            .with("groupId", id)
            .with("groupName", name)
    }))
}

fn instance(context: &Context<'_>, one: &Instance) -> Element {
    let gone = one.state == State::Terminated;
    let private = (!gone).then_some(one.private_address);
    let reason = one.reason.as_ref();
    Element::new("item")
        .with("instanceId", &one.id)
        .with("imageId", &one.image)
        .child(state("instanceState", one.state))
        .with(
            "privateDnsName",
            private.map_or_else(String::new, |address| private_name(context, address)),
        )
        .with(
            "dnsName",
            one.public_address
                .map_or_else(String::new, |address| public_name(context, address)),
        )
        .with(
            "reason",
            reason.map_or("", |reason| reason.transition.as_str()),
        )
        .maybe("keyName", one.key_name.as_ref())
        .with("amiLaunchIndex", one.launch_index)
        .list("productCodes", [])
        .with("instanceType", &one.instance_type)
        .with("launchTime", iso(one.launched))
        .child(
            Element::new("placement")
                .with("availabilityZone", &one.zone)
                .with("groupName", "")
                .with("tenancy", "default"),
        )
        .maybe("platform", one.windows.then_some("windows"))
        .child(Element::new("monitoring").with("state", "disabled"))
        .maybe("subnetId", (!gone).then_some(&one.subnet))
        .maybe("vpcId", (!gone).then_some(&one.vpc))
        .maybe("privateIpAddress", private)
        .maybe("ipAddress", one.public_address)
        .with("sourceDestCheck", true)
        .child(groups(context, if gone { &[] } else { &one.groups }))
        .children(reason.map(|reason| {
            Element::new("stateReason")
                .with("code", &reason.code)
                .with("message", &reason.message)
        }))
        .with("architecture", one.architecture)
        .with("rootDeviceType", "ebs")
        .with("rootDeviceName", &one.root_device)
        .list(
            "blockDeviceMapping",
            one.volumes.iter().map(|(device, id)| {
                let goes = context
                    .region
                    .volumes
                    .get(id)
                    .is_some_and(|volume| volume.delete_on_termination);
                Element::new("item").with("deviceName", device).child(
                    Element::new("ebs")
                        .with("volumeId", id)
                        .with("status", "attached")
                        .with("attachTime", iso(one.launched))
                        .with("deleteOnTermination", goes),
                )
            }),
        )
        .with("virtualizationType", "hvm")
        .maybe(
            "instanceLifecycle",
            (one.market == Market::Spot).then_some("spot"),
        )
        .maybe("spotInstanceRequestId", one.spot_request.as_ref())
        .with("clientToken", &one.client_token)
        .child(tags::set(&one.tags))
        .with("hypervisor", "xen")
        .list(
            "networkInterfaceSet",
            context
                .region
                .interfaces
                .get(&one.interface)
                .filter(|_| !gone)
                .map(|here| interface_of(context, here)),
        )
        .children(one.profile.as_ref().map(|arn| {
            Element::new("iamInstanceProfile").with("arn", arn).with(
                "id",
                fixed_id("AIPA", &[arn]).to_uppercase().replace('-', ""),
            )
        }))
        .with("ebsOptimized", false)
        .with("enaSupport", true)
        .child(Element::new("hibernationOptions").with("configured", one.hibernation))
        .child(
            Element::new("metadataOptions")
                .with("state", "applied")
                .with("httpTokens", &one.metadata.tokens)
                .with("httpPutResponseHopLimit", one.metadata.hop_limit)
                .with("httpEndpoint", &one.metadata.endpoint)
                .with("httpProtocolIpv6", "disabled")
                .with(
                    "instanceMetadataTags",
                    if one.metadata.instance_tags {
                        "enabled"
                    } else {
                        "disabled"
                    },
                ),
        )
        .child(Element::new("enclaveOptions").with("enabled", false))
        .with(
            "platformDetails",
            if one.windows { "Windows" } else { "Linux/UNIX" },
        )
        .with(
            "usageOperation",
            if one.windows {
                "RunInstances:0002"
            } else {
                "RunInstances"
            },
        )
}

fn interface_of(context: &Context<'_>, one: &Interface) -> Element {
    let association = one.public_address.map(|address| {
        Element::new("association")
            .with("publicIp", address)
            .with("publicDnsName", public_name(context, address))
            .with("ipOwnerId", "amazon")
    });
    let private_name = private_name(context, one.private_address);
    Element::new("item")
        .with("networkInterfaceId", &one.id)
        .with("subnetId", &one.subnet)
        .with("vpcId", &one.vpc)
        .with("description", &one.description)
        .with("ownerId", context.account)
        .with("status", "in-use")
        .with("macAddress", mac(one))
        .with("privateIpAddress", one.private_address)
        .with("privateDnsName", &private_name)
        .with("sourceDestCheck", true)
        .with("interfaceType", "interface")
        .child(groups(context, &one.groups))
        .child(
            Element::new("attachment")
                .with("attachmentId", fixed_id("eni-attach", &[&one.id]))
                .with("deviceIndex", 0)
                .with("status", "attached")
                .with("attachTime", iso(one.attached_at))
                .with("deleteOnTermination", one.delete_on_termination)
                .with("networkCardIndex", 0),
        )
        .children(association.clone())
        .list(
            "privateIpAddressesSet",
            [Element::new("item")
                .with("privateIpAddress", one.private_address)
                .with("privateDnsName", private_name)
                .with("primary", true)
                .children(association)],
        )
}

/// A hardware address that follows from the private one.
pub(crate) fn mac(interface: &Interface) -> String {
    let [a, b, c, d] = interface.private_address.octets();
    format!("0a:ec:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

pub(crate) fn private_name(context: &Context<'_>, address: std::net::Ipv4Addr) -> String {
    let dashed = address.to_string().replace('.', "-");
    match context.place.name.as_str() {
        "us-east-1" => format!("ip-{dashed}.ec2.internal"),
        region => format!("ip-{dashed}.{region}.compute.internal"),
    }
}

fn public_name(context: &Context<'_>, address: std::net::Ipv4Addr) -> String {
    let dashed = address.to_string().replace('.', "-");
    match context.place.name.as_str() {
        "us-east-1" => format!("ec2-{dashed}.compute-1.amazonaws.com"),
        region => format!("ec2-{dashed}.{region}.compute.amazonaws.com"),
    }
}
