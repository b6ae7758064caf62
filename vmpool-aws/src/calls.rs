//! What several calls have in common.

use std::net::{IpAddr, SocketAddr};

use aws_sdk_ec2::types::{Instance, InstanceLifecycleType};

use crate::account::Seat;
use crate::template::Reach;

/// A number as EC2 takes it.
pub(crate) fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Where an instance is.
pub(crate) fn seat_of(instance: &Instance) -> Option<Seat> {
    let zone = instance.placement()?.availability_zone()?;
    let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    let machine_type = instance.instance_type().filter(|_| is_spot);
    Some(Seat {
        zone: zone.into(),
        spot: machine_type.map(|kind| kind.as_str().into()),
    })
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
