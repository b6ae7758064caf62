//! Where a launch is to be: network interface, subnet, zone, security groups.

use crate::catalog::Zone;
use crate::cloud::{Context, check_id};
use crate::error::ApiError;
use crate::params::Params;

/// The one network interface that a request may describe.
pub(super) fn interface(params: &Params) -> Result<Option<&Params>, ApiError> {
    let interfaces = params.list("NetworkInterface");
    let [one] = interfaces[..] else {
        return if interfaces.is_empty() {
            Ok(None)
        } else {
            Err(ApiError::new(
                "AttachmentLimitExceeded",
                "fake-ec2 gives an instance one network interface.",
            ))
        };
    };
    for (name, what) in [
        ("SubnetId", "subnet ID"),
        ("SecurityGroupId", "security groups"),
    ] {
        if params.at(name).is_some() {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                format!(
                    "Network interfaces and an instance-level {what} may not be specified on the \
                     same request"
                ),
            ));
        }
    }
    if one.number::<u32>("DeviceIndex")?.unwrap_or(0) != 0 {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "Each network interface requires a device index, and the primary's is 0.",
        ));
    }
    Ok(Some(one))
}

/// The zone that a request names, itself or by its subnet.
pub(super) fn zone(
    context: &Context<'_>,
    params: &Params,
    interface: Option<&Params>,
) -> Result<Option<Zone>, ApiError> {
    let subnet = interface
        .and_then(|interface| interface.text("SubnetId"))
        .or_else(|| params.text("SubnetId"));
    let by_subnet = match subnet {
        None => None,
        Some(id) => {
            let zone = context.place.zone_of_subnet(context.account, id);
            let error = || ApiError::not_found("InvalidSubnetID", "subnet ID", &[id]);
            Some(zone.cloned().ok_or_else(error)?)
        }
    };
    let by_name = match params.text("Placement.AvailabilityZone") {
        None => None,
        Some(name) => {
            let zone = context.place.zone(name).cloned();
            Some(zone.ok_or_else(|| {
                ApiError::new(
                    "InvalidParameterValue",
                    format!("Invalid availability zone: [{name}]"),
                )
            })?)
        }
    };
    match (by_subnet, by_name) {
        (Some(subnet), Some(name)) if subnet != name => Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "The availability zone '{}' does not match that of the specified subnet",
                name.name
            ),
        )),
        (subnet, name) => Ok(subnet.or(name)),
    }
}

/// The security groups of a request, which must be known.
pub(super) fn groups(
    context: &mut Context<'_>,
    params: &Params,
    interface: Option<&Params>,
) -> Result<Vec<String>, ApiError> {
    let ids = interface.unwrap_or(params).texts("SecurityGroupId");
    if ids.is_empty() {
        return Ok(vec![context.place.default_group(context.account)]);
    }
    for id in &ids {
        check_id("sg", "InvalidGroupId", id)?;
        let known = context.region.groups.get(*id).cloned();
        if known.is_none_or(|group| context.look(&group).is_none()) {
            return Err(ApiError::new(
                "InvalidGroup.NotFound",
                format!(
                    "The security group '{id}' does not exist in VPC '{}'",
                    context.place.vpc(context.account)
                ),
            ));
        }
    }
    Ok(ids.into_iter().map(str::to_owned).collect())
}
