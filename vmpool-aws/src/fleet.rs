//! CreateFleet (instant): a launch that has several places, of which EC2 picks.
//!
//! A fleet takes its machines' description from a launch template only, so the
//! order's own is made first and deleted once its outcome is certain. Those
//! that a crash leaves are deleted when machines are listed ([`reap`]): they
//! carry the order's tags, cost nothing, and a replay makes its own again.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::operation::create_fleet::CreateFleetOutput;
use aws_sdk_ec2::types::{
    CreateFleetError, CreateFleetInstance, DefaultTargetCapacityType, Filter,
    FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest,
    FleetLaunchTemplateSpecificationRequest, FleetOnDemandAllocationStrategy, FleetType,
    InstanceType, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateHibernationOptionsRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataEndpointState, LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
    LaunchTemplateTagSpecificationRequest, OnDemandOptionsRequest, RequestLaunchTemplateData,
    ResourceType, ShutdownBehavior, SpotAllocationStrategy, SpotInstanceInterruptionBehavior,
    SpotOptionsRequest, TagSpecification, TargetCapacitySpecificationRequest, VolumeType,
};
use vmpool_core::account::{CallKind, Priority};
use vmpool_core::{
    ErrorKind, LaunchOutcome, Launched, Market, Owner, Place, ProviderError, Timestamp,
};

use crate::account::Ec2Account;
use crate::calls::whole;
use crate::failure::{Said, failed, had_no_effect, kind_of, not_launched};
use crate::request::{Offer, Request};
use crate::run::{HOPS, groups};
use crate::tags::{self, all};
use crate::template::{Machine, Preference};

/// What our launch templates are called before their order's name.
const PREFIX: &str = "vmpool-";
/// A template that is older is of no launch that still goes on.
const OUTDATED: Duration = Duration::from_hours(1);
/// So long a template that was just made may be unknown where a fleet asks for it.
const TEMPLATE_SEEN: Duration = Duration::from_secs(3);
/// A fleet is asked for again so often while it is: each costs a launch call.
const TEMPLATE_TRIES: u32 = 3;
/// Deleting templates holds nothing else up for longer.
const TIDYING: Duration = Duration::from_secs(5);
/// Most templates that EC2 describes in one answer.
const PAGE: i32 = 200;

/// Launches `request` wherever EC2 finds it best.
pub(crate) async fn launch(account: &Ec2Account, request: &Request) -> LaunchOutcome {
    if let Err(error) = account
        .call(Priority::Request, Box::pin(make_template(account, request)))
        .await
    {
        // Nothing was launched: a fleet comes only after its template.
        return not_launched(request.count, error, true);
    }
    let mut outcome = Box::pin(create(account, request)).await;
    for _ in 0..TEMPLATE_TRIES {
        if !is_without_template(&outcome) {
            break;
        }
        tokio::time::sleep(TEMPLATE_SEEN).await;
        let again = Box::pin(create(account, request));
        let budget = account.budget();
        outcome = budget
            .call(CallKind::Launch, Priority::Request, again)
            .await;
    }
    if outcome.unknown.is_none() {
        // The outcome does not wait for long.
        let name = name(request);
        let deleted = delete(account, Priority::Request, &name);
        if tokio::time::timeout(TIDYING, deleted).await.is_err() {
            tracing::debug!(template = name, "a launch template is deleted later");
        }
    }
    outcome
}

async fn create(account: &Ec2Account, request: &Request) -> LaunchOutcome {
    let sent = account
        .ec2()
        .create_fleet()
        .r#type(FleetType::Instant)
        .client_token(request.token())
        .launch_template_configs(config(request))
        .target_capacity_specification(capacity(request))
        .set_spot_options((request.market == Market::Spot).then(|| spot(request)))
        .set_on_demand_options((request.market == Market::OnDemand).then(|| on_demand(request)))
        .tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::Fleet)
                .set_tags(Some(all(request)))
                .build(),
        )
        .send()
        .await;
    match sent {
        Ok(answer) => answered(request, &answer),
        Err(error) => {
            let why = failed(request.attempted(), &error);
            not_launched(request.count, why, had_no_effect(&error))
        }
    }
}

/// EC2 does not know the order's template yet, so it launched nothing.
fn is_without_template(outcome: &LaunchOutcome) -> bool {
    let mut refused = outcome.refused.iter();
    refused.any(|(_, error)| error.kind == ErrorKind::NotFound && error.place.is_none())
}

fn answered(request: &Request, answer: &CreateFleetOutput) -> LaunchOutcome {
    let machines: Vec<_> = answer
        .instances()
        .iter()
        .flat_map(CreateFleetInstance::instance_ids)
        .map(|id| Launched {
            id: id.as_str().into(),
            // A fleet's answer has none: a listing tells.
            address: None,
        })
        .collect();
    let launched = u32::try_from(machines.len()).unwrap_or(u32::MAX);
    LaunchOutcome {
        machines,
        refused: refused(
            request,
            answer.errors(),
            request.count.saturating_sub(launched),
        ),
        unknown: None,
    }
}

/// The machines that are missing, with what EC2 said of each place. The number
/// stands with the first place; the others are told for the memory of places.
fn refused(
    request: &Request,
    errors: &[CreateFleetError],
    missing: u32,
) -> Vec<(u32, ProviderError)> {
    if missing == 0 {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut refused: Vec<_> = errors
        .iter()
        .filter_map(|error| {
            let code = error.error_code().unwrap_or("no code");
            let place = place_of(request, error);
            seen.insert((code, place.clone())).then(|| {
                let said = Said::new(code, error.error_message().unwrap_or("no message"));
                let why = ProviderError::new(kind_of(code), request.attempted()).because(said);
                (0, place.into_iter().fold(why, ProviderError::at))
            })
        })
        .collect();
    if refused.is_empty() {
        let said = Said::new("no code", "EC2 launched fewer and did not say why");
        let why = ProviderError::new(ErrorKind::NoCapacity, request.attempted()).because(said);
        refused.push((0, why));
    }
    refused[0].0 = missing;
    refused
}

fn place_of(request: &Request, error: &CreateFleetError) -> Option<Place> {
    let used = error.launch_template_and_overrides()?.overrides()?;
    let kind = used.instance_type()?.as_str();
    let is_meant = |offer: &&Offer| {
        let zone = &offer.zone;
        let subnet = used.subnet_id().is_none() || used.subnet_id() == zone.subnet.as_deref();
        let named = used.availability_zone();
        let zone = zone.name.is_empty() || named.is_none() || named == Some(&zone.name);
        offer.machine_type == kind && subnet && zone
    };
    let offer = request.offers.iter().find(is_meant)?;
    Some(request.place(offer))
}

fn name(request: &Request) -> String {
    format!("{PREFIX}{}", request.token())
}

/// Makes the order's template; one that is there already is this order's.
async fn make_template(account: &Ec2Account, request: &Request) -> Result<(), ProviderError> {
    let name = name(request);
    let sent = account
        .ec2()
        .create_launch_template()
        .launch_template_name(&name)
        .launch_template_data(data(request))
        .tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::LaunchTemplate)
                .set_tags(Some(all(request)))
                .build(),
        )
        .send()
        .await;
    match sent {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("InvalidLaunchTemplateName.AlreadyExistsException") => {
            Ok(())
        }
        Err(error) => Err(failed(format!("make launch template {name}"), &error)),
    }
}

async fn delete(account: &Ec2Account, priority: Priority, name: &str) {
    let call = async {
        let sent = account.ec2().delete_launch_template();
        match sent.launch_template_name(name).send().await {
            Err(error) if error.code() != Some("InvalidLaunchTemplateName.NotFoundException") => {
                Err(failed(format!("delete launch template {name}"), &error))
            }
            _ => Ok(()),
        }
    };
    if let Err(error) = account.call(priority, Box::pin(call)).await {
        tracing::warn!(%error, "a launch template stays; it is deleted later");
    }
}

/// Deletes the templates of `owner` that no launch can need any more, as many
/// as a short time allows: a listing waits for it.
pub(crate) async fn reap(account: &Ec2Account, owner: &Owner) {
    let reaped = async {
        let found = account
            .call(Priority::Audit, Box::pin(outdated(account, owner)))
            .await?;
        for name in found {
            delete(account, Priority::Audit, &name).await;
        }
        Ok::<_, ProviderError>(())
    };
    match tokio::time::timeout(TIDYING, reaped).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "old launch templates are looked for later"),
        Err(_) => tracing::debug!("old launch templates are deleted later"),
    }
}

async fn outdated(account: &Ec2Account, owner: &Owner) -> Result<Vec<String>, ProviderError> {
    let ours = Filter::builder()
        .name(format!("tag:{}", tags::OWNER))
        .values(owner.as_str())
        .build();
    let sent = account.ec2().describe_launch_templates();
    let sent = sent.filters(ours).max_results(PAGE).send().await;
    let found = sent.map_err(|error| failed("list launch templates", &error))?;
    let now = account.clock().now();
    let templates = found.launch_templates().iter();
    let outdated = templates.filter_map(|template| {
        let made = template.create_time()?.to_millis().ok()?;
        let made = Timestamp(u64::try_from(made).ok()?);
        let name = template.launch_template_name()?;
        let ours = name.starts_with(PREFIX) && now.since(made) > OUTDATED;
        ours.then(|| name.to_owned())
    });
    Ok(outdated.collect())
}

fn config(request: &Request) -> FleetLaunchTemplateConfigRequest {
    let template = FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(name(request))
        .version("1")
        .build();
    let overrides = request.offers.iter().zip(0_u32..).map(|(offer, nth)| {
        let zone = &offer.zone;
        let named = (zone.subnet.is_none() && !zone.name.is_empty()).then(|| zone.name.clone());
        FleetLaunchTemplateOverridesRequest::builder()
            .instance_type(InstanceType::from(offer.machine_type.as_str()))
            .set_subnet_id(zone.subnet.clone())
            .set_availability_zone(named)
            .priority(f64::from(nth))
            .build()
    });
    FleetLaunchTemplateConfigRequest::builder()
        .launch_template_specification(template)
        .set_overrides(Some(overrides.collect()))
        .build()
}

fn capacity(request: &Request) -> TargetCapacitySpecificationRequest {
    TargetCapacitySpecificationRequest::builder()
        .total_target_capacity(whole(request.count))
        .default_target_capacity_type(match request.market {
            Market::OnDemand => DefaultTargetCapacityType::OnDemand,
            Market::Spot => DefaultTargetCapacityType::Spot,
        })
        .build()
}

fn spot(request: &Request) -> SpotOptionsRequest {
    SpotOptionsRequest::builder()
        .allocation_strategy(match request.preference {
            Preference::Ordered => SpotAllocationStrategy::CapacityOptimizedPrioritized,
            Preference::Cheapest => SpotAllocationStrategy::PriceCapacityOptimized,
        })
        .instance_interruption_behavior(SpotInstanceInterruptionBehavior::Terminate)
        .build()
}

fn on_demand(request: &Request) -> OnDemandOptionsRequest {
    OnDemandOptionsRequest::builder()
        .allocation_strategy(match request.preference {
            Preference::Ordered => FleetOnDemandAllocationStrategy::Prioritized,
            Preference::Cheapest => FleetOnDemandAllocationStrategy::LowestPrice,
        })
        .build()
}

/// The description of the machines, in the launch template's own types.
fn data(request: &Request) -> RequestLaunchTemplateData {
    let machine = &request.machine;
    RequestLaunchTemplateData::builder()
        .image_id(&request.image)
        .network_interfaces(interface(machine))
        .block_device_mappings(root(machine))
        .set_key_name(machine.key_pair.clone())
        .set_iam_instance_profile(machine.profile.as_ref().map(|arn| {
            LaunchTemplateIamInstanceProfileSpecificationRequest::builder()
                .arn(arn)
                .build()
        }))
        .set_hibernation_options(machine.hibernate.then(|| {
            LaunchTemplateHibernationOptionsRequest::builder()
                .configured(true)
                .build()
        }))
        .metadata_options(
            LaunchTemplateInstanceMetadataOptionsRequest::builder()
                .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
                .http_tokens(LaunchTemplateHttpTokensState::Required)
                .http_put_response_hop_limit(HOPS)
                .build(),
        )
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_tag_specifications(Some(specifications(request)))
        .set_user_data(request.user_data.clone())
        .build()
}

fn specifications(request: &Request) -> Vec<LaunchTemplateTagSpecificationRequest> {
    tags::specifications(request)
        .into_iter()
        .map(|specification| {
            LaunchTemplateTagSpecificationRequest::builder()
                .set_resource_type(specification.resource_type)
                .set_tags(specification.tags)
                .build()
        })
        .collect()
}

fn interface(machine: &Machine) -> LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
    let network = &machine.network;
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .device_index(0)
        .delete_on_termination(true)
        .associate_public_ip_address(network.public_address)
        .set_groups(groups(&network.security_groups))
        .build()
}

fn root(machine: &Machine) -> LaunchTemplateBlockDeviceMappingRequest {
    let disk = &machine.disk;
    let volume = LaunchTemplateEbsBlockDeviceRequest::builder()
        .delete_on_termination(true)
        .encrypted(true)
        .volume_size(whole(disk.gib))
        .volume_type(VolumeType::from(disk.kind.as_str()))
        .set_iops(disk.iops.map(whole))
        .set_kms_key_id(disk.kms_key.clone())
        .build();
    LaunchTemplateBlockDeviceMappingRequest::builder()
        .device_name(&disk.device)
        .ebs(volume)
        .build()
}
