//! RunInstances: a launch that has one place.

use aws_sdk_ec2::operation::run_instances::RunInstancesOutput;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HibernationOptionsRequest, HttpTokensState,
    IamInstanceProfileSpecification, InstanceInterruptionBehavior, InstanceMarketOptionsRequest,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceType, MarketType, Placement, ShutdownBehavior,
    SpotInstanceType, SpotMarketOptions, VolumeType,
};
use vmpool_core::{ErrorKind, LaunchOutcome, Launched, MachineId, Market, ProviderError};

use crate::account::{Ec2Account, Seat};
use crate::calls::{address_of, seat_of, whole};
use crate::failure::{Said, failed, had_no_effect, not_launched};
use crate::request::{Offer, Request};
use crate::tags::specifications;
use crate::template::{Disk, Machine};

/// How far the metadata service's answers go: not into containers.
pub(crate) const HOPS: i32 = 1;

/// Launches `request` at `offer`, as many machines as there is capacity for.
pub(crate) async fn run(account: &Ec2Account, request: &Request, offer: &Offer) -> LaunchOutcome {
    let machine = &request.machine;
    let spot = (request.market == Market::Spot).then(spot);
    let placement = (!offer.zone.name.is_empty()).then(|| {
        Placement::builder()
            .availability_zone(&offer.zone.name)
            .build()
    });
    let sent = account
        .ec2()
        .run_instances()
        .client_token(request.token())
        .image_id(&request.image)
        .instance_type(InstanceType::from(offer.machine_type.as_str()))
        .min_count(1)
        .max_count(whole(request.count))
        .set_placement(placement)
        .network_interfaces(interface(machine, offer))
        .block_device_mappings(root(&machine.disk))
        .set_key_name(machine.key_pair.clone())
        .set_iam_instance_profile(
            machine
                .profile
                .as_ref()
                .map(|arn| IamInstanceProfileSpecification::builder().arn(arn).build()),
        )
        .set_instance_market_options(spot)
        .set_hibernation_options(machine.hibernate.then(|| {
            HibernationOptionsRequest::builder()
                .configured(true)
                .build()
        }))
        .metadata_options(metadata())
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_tag_specifications(Some(specifications(request)))
        .set_user_data(request.user_data.clone())
        .send()
        .await;
    match sent {
        Ok(answer) => {
            account.are_in(seats(&answer), false);
            answered(request, offer, &answer)
        }
        Err(error) => {
            let why = failed(request.attempted(), &error).at(request.place(offer));
            not_launched(request.count, why, had_no_effect(&error))
        }
    }
}

/// Where the machines are: known from now on, not only from the next listing.
fn seats(answer: &RunInstancesOutput) -> impl Iterator<Item = (MachineId, Seat)> {
    let instances = answer.instances().iter();
    instances.filter_map(|instance| Some((instance.instance_id()?.into(), seat_of(instance)?)))
}

/// EC2 may launch fewer than it was asked for, and then has no more there.
fn answered(request: &Request, offer: &Offer, answer: &RunInstancesOutput) -> LaunchOutcome {
    let machines: Vec<_> = answer
        .instances()
        .iter()
        .filter_map(|instance| {
            Some(Launched {
                id: instance.instance_id()?.into(),
                address: address_of(instance, request.machine.network.reach()),
            })
        })
        .collect();
    let launched = u32::try_from(machines.len()).unwrap_or(u32::MAX);
    let missing = request.count.saturating_sub(launched);
    let refused = (missing > 0).then(|| {
        let said = format!("EC2 launched {launched} of {}", request.count);
        let why = ProviderError::new(ErrorKind::NoCapacity, request.attempted())
            .at(request.place(offer))
            .because(Said::new("InsufficientInstanceCapacity", &said));
        (missing, why)
    });
    LaunchOutcome {
        machines,
        refused: refused.into_iter().collect(),
        unknown: None,
    }
}

fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options)
        .build()
}

/// One interface: an address that is asked for, or kept off, only fits here.
fn interface(machine: &Machine, offer: &Offer) -> InstanceNetworkInterfaceSpecification {
    let network = &machine.network;
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .delete_on_termination(true)
        .associate_public_ip_address(network.public_address)
        .set_subnet_id(offer.zone.subnet.clone())
        .set_groups(groups(&network.security_groups))
        .build()
}

/// None named: the VPC's default group.
pub(crate) fn groups(ids: &[String]) -> Option<Vec<String>> {
    (!ids.is_empty()).then(|| ids.to_vec())
}

fn root(disk: &Disk) -> BlockDeviceMapping {
    let volume = EbsBlockDevice::builder()
        .delete_on_termination(true)
        .encrypted(true)
        .volume_size(whole(disk.gib))
        .volume_type(VolumeType::from(disk.kind.as_str()))
        .set_iops(disk.iops.map(whole))
        .set_kms_key_id(disk.kms_key.clone())
        .build();
    BlockDeviceMapping::builder()
        .device_name(&disk.device)
        .ebs(volume)
        .build()
}

fn metadata() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(HOPS)
        .build()
}
