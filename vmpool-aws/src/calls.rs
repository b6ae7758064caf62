//! What several calls have in common.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_sdk_ec2::types::Instance;

use crate::template::Reach;

/// A number as EC2 takes it.
pub(crate) fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The zone of an instance.
pub(crate) fn zone_of(instance: &Instance) -> Option<Arc<str>> {
    let zone = instance.placement()?.availability_zone()?;
    Some(zone.into())
}

/// Where an instance's agent is dialled, once EC2 knows.
pub(crate) fn address_of(instance: &Instance, reach: Reach) -> Option<SocketAddr> {
    let address = if reach.public {
        instance.public_ip_address()
    } else {
        instance.private_ip_address()
    };
    let address: IpAddr = address?.parse().ok()?;
    Some(SocketAddr::new(address, reach.port))
}
