//! What instances leave behind when they may: volumes and network interfaces.

use std::collections::BTreeMap;

use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::actions::{answer, show, tags};
use crate::catalog::fixed_id;
use crate::clock::iso;
use crate::cloud::{Context, Interface, Volume, check_id};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn describe_volumes(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "attachment.instance-id",
        "availability-zone",
        "encrypted",
        "status",
        "tag-key",
        "volume-id",
        "volume-type",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let known = &context.region.volumes;
    let ids = known_ids(params, "VolumeId", known, no_volume)?;
    let found: Vec<Volume> = context
        .region
        .volumes
        .values()
        .filter(|volume| ids.is_empty() || ids.contains(&volume.id.as_str()))
        .filter(|volume| {
            filters.pass(&volume.tags, |name| {
                let attached = volume.attached.as_ref();
                let value = match name {
                    "attachment.instance-id" => {
                        return attached
                            .iter()
                            .map(|(instance, _)| instance.clone())
                            .collect();
                    }
                    "availability-zone" => volume.zone.clone(),
                    "encrypted" => volume.encrypted.to_string(),
                    "status" => status(attached.is_some()).to_owned(),
                    "volume-id" => volume.id.clone(),
                    "volume-type" => volume.kind.clone(),
                    _ => return Vec::new(),
                };
                vec![value]
            })
        })
        .cloned()
        .collect();
    let page = page(context, params, 5..=500, found, |one| one.id.clone())?;
    Ok(answer("DescribeVolumesResponse")
        .list("volumeSet", page.items.iter().map(volume))
        .maybe("nextToken", page.next))
}

/// The ids that a request names, if all of them are known.
fn known_ids<'a, T>(
    params: &'a Params,
    name: &str,
    known: &BTreeMap<String, T>,
    unknown: fn(&str) -> ApiError,
) -> Result<Vec<&'a str>, ApiError> {
    let ids = params.texts(name);
    match ids.iter().find(|id| !known.contains_key(**id)) {
        Some(id) => Err(unknown(id)),
        None => Ok(ids),
    }
}

fn status(attached: bool) -> &'static str {
    if attached { "in-use" } else { "available" }
}

fn volume(volume: &Volume) -> Element {
    Element::new("item")
        .with("volumeId", &volume.id)
        .with("size", volume.gib)
        .with("snapshotId", volume.snapshot.as_deref().unwrap_or_default())
        .with("availabilityZone", &volume.zone)
        .with("status", status(volume.attached.is_some()))
        .with("createTime", iso(volume.created))
        .list(
            "attachmentSet",
            volume.attached.iter().map(|(instance, device)| {
                Element::new("item")
                    .with("volumeId", &volume.id)
                    .with("instanceId", instance)
                    .with("device", device)
                    .with("status", "attached")
                    .with("attachTime", iso(volume.created))
                    .with("deleteOnTermination", volume.delete_on_termination)
            }),
        )
        .child(tags::set(&volume.tags))
        .with("volumeType", &volume.kind)
        .maybe("iops", volume.iops)
        .maybe("throughput", volume.throughput)
        .with("encrypted", volume.encrypted)
        .maybe("kmsKeyId", volume.kms_key.as_ref())
        .with("multiAttachEnabled", false)
}

pub(crate) fn delete_volume(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let id = params.required("VolumeId")?;
    check_id("vol", "InvalidVolumeID", id)?;
    let volume = context
        .region
        .volumes
        .get(id)
        .ok_or_else(|| no_volume(id))?;
    if let Some((instance, _)) = &volume.attached {
        return Err(ApiError::new(
            "VolumeInUse",
            format!("Volume {id} is currently attached to {instance}"),
        ));
    }
    context.region.volumes.remove(id);
    Ok(answer("DeleteVolumeResponse").with("return", true))
}

fn no_volume(id: &str) -> ApiError {
    ApiError::new(
        "InvalidVolume.NotFound",
        format!("The volume '{id}' does not exist."),
    )
}

pub(crate) fn describe_network_interfaces(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "attachment.instance-id",
        "availability-zone",
        "group-id",
        "network-interface-id",
        "private-ip-address",
        "status",
        "subnet-id",
        "tag-key",
        "vpc-id",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let known = &context.region.interfaces;
    let ids = known_ids(params, "NetworkInterfaceId", known, no_interface)?;
    let found: Vec<Interface> = context
        .region
        .interfaces
        .values()
        .filter(|one| ids.is_empty() || ids.contains(&one.id.as_str()))
        .filter(|one| {
            filters.pass(&one.tags, |name| {
                let value = match name {
                    "attachment.instance-id" => return one.attached.iter().cloned().collect(),
                    "availability-zone" => one.zone.clone(),
                    "group-id" => return one.groups.clone(),
                    "network-interface-id" => one.id.clone(),
                    "private-ip-address" => one.private_address.to_string(),
                    "status" => status(one.attached.is_some()).to_owned(),
                    "subnet-id" => one.subnet.clone(),
                    "vpc-id" => one.vpc.clone(),
                    _ => return Vec::new(),
                };
                vec![value]
            })
        })
        .cloned()
        .collect();
    let page = page(context, params, 5..=1000, found, |one| one.id.clone())?;
    Ok(answer("DescribeNetworkInterfacesResponse")
        .list(
            "networkInterfaceSet",
            page.items.iter().map(|one| interface(context, one)),
        )
        .maybe("nextToken", page.next))
}

fn interface(context: &Context<'_>, one: &Interface) -> Element {
    Element::new("item")
        .with("networkInterfaceId", &one.id)
        .with("subnetId", &one.subnet)
        .with("vpcId", &one.vpc)
        .with("availabilityZone", &one.zone)
        .with("description", &one.description)
        .with("ownerId", context.account)
        .with("requesterManaged", false)
        .with("status", status(one.attached.is_some()))
        .with("macAddress", show::mac(one))
        .with("privateIpAddress", one.private_address)
        .with(
            "privateDnsName",
            show::private_name(context, one.private_address),
        )
        .with("sourceDestCheck", true)
        .with("interfaceType", "interface")
        .child(show::groups(context, &one.groups))
        .children(one.attached.as_ref().map(|instance| {
            Element::new("attachment")
                .with("attachmentId", fixed_id("eni-attach", &[&one.id]))
                .with("instanceId", instance)
                .with("instanceOwnerId", context.account)
                .with("deviceIndex", 0)
                .with("status", "attached")
                .with("attachTime", iso(one.attached_at))
                .with("deleteOnTermination", one.delete_on_termination)
        }))
        .children(one.public_address.map(|address| {
            Element::new("association")
                .with("publicIp", address)
                .with("ipOwnerId", "amazon")
        }))
        .child(tags::set(&one.tags))
        .list(
            "privateIpAddressesSet",
            [Element::new("item")
                .with("privateIpAddress", one.private_address)
                .with("primary", true)],
        )
}

pub(crate) fn delete_network_interface(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let id = params.required("NetworkInterfaceId")?;
    check_id("eni", "InvalidNetworkInterfaceId", id)?;
    let one = context
        .region
        .interfaces
        .get(id)
        .ok_or_else(|| no_interface(id))?;
    if one.attached.is_some() {
        return Err(ApiError::new(
            "InvalidNetworkInterface.InUse",
            format!("Network interface '{id}' is currently in use."),
        ));
    }
    let address = one.private_address;
    context.region.interfaces.remove(id);
    context.addresses.remove(&address);
    Ok(answer("DeleteNetworkInterfaceResponse").with("return", true))
}

fn no_interface(id: &str) -> ApiError {
    ApiError::new(
        "InvalidNetworkInterfaceID.NotFound",
        format!("The networkInterface ID '{id}' does not exist"),
    )
}
