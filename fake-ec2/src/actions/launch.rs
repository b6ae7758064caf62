//! What a launch asks for, checked, and the making of the instances.
//!
//! `RunInstances` and `CreateFleet` both come here. A request is laid over its
//! launch template first (`actions/templates.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::actions::tags::{self, ByKind};
use crate::catalog::{BootMode, Image, InstanceType, Zone};
use crate::cloud::{
    Context, Instance, Interface, Lagged, Market, MetadataOptions, Reason, SpotRequest, State,
    Tags, Volume, check_id,
};
use crate::error::ApiError;
use crate::faults::Fault;
use crate::params::Params;

/// What `RunInstances` and a template may say here. `Monitoring`,
/// `EbsOptimized` and `Placement.Tenancy` change nothing.
pub(crate) const PARAMS: &[&str] = &[
    "BlockDeviceMapping.DeviceName",
    "BlockDeviceMapping.Ebs.DeleteOnTermination",
    "BlockDeviceMapping.Ebs.Encrypted",
    "BlockDeviceMapping.Ebs.Iops",
    "BlockDeviceMapping.Ebs.KmsKeyId",
    "BlockDeviceMapping.Ebs.Throughput",
    "BlockDeviceMapping.Ebs.VolumeSize",
    "BlockDeviceMapping.Ebs.VolumeType",
    "ClientToken",
    "DisableApiTermination",
    "EbsOptimized",
    "HibernationOptions.Configured",
    "IamInstanceProfile.Arn",
    "IamInstanceProfile.Name",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions.MarketType",
    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
    "InstanceMarketOptions.SpotOptions.MaxPrice",
    "InstanceMarketOptions.SpotOptions.SpotInstanceType",
    "InstanceType",
    "KeyName",
    "LaunchTemplate.LaunchTemplateId",
    "LaunchTemplate.LaunchTemplateName",
    "LaunchTemplate.Version",
    "MaxCount",
    "MetadataOptions.HttpEndpoint",
    "MetadataOptions.HttpPutResponseHopLimit",
    "MetadataOptions.HttpTokens",
    "MetadataOptions.InstanceMetadataTags",
    "MinCount",
    "Monitoring.Enabled",
    "NetworkInterface.AssociatePublicIpAddress",
    "NetworkInterface.DeleteOnTermination",
    "NetworkInterface.Description",
    "NetworkInterface.DeviceIndex",
    "NetworkInterface.SecurityGroupId",
    "NetworkInterface.SubnetId",
    "Placement.AvailabilityZone",
    "Placement.Tenancy",
    "SecurityGroupId",
    "SubnetId",
    "UserData",
];

/// The kinds that a launch can tag.
const TAGGED: &[&str] = &[
    "instance",
    "volume",
    "network-interface",
    "spot-instances-request",
];

/// The largest user data, before base64
/// (docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html).
const USER_DATA: usize = 16 * 1024;

/// A checked wish for instances of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) kind: InstanceType,
    /// Where, if it says so.
    pub(crate) zone: Option<Zone>,
    pub(crate) market: Market,
    pub(crate) tags: ByKind,
    image_id: String,
    image: Image,
    spot: Spot,
    groups: Vec<String>,
    public: bool,
    user_data: Option<Arc<[u8]>>,
    key_name: Option<String>,
    profile: Option<String>,
    disks: Vec<Disk>,
    interface_stays: bool,
    description: String,
    shutdown_terminates: bool,
    protected: bool,
    hibernation: bool,
    metadata: MetadataOptions,
    client_token: String,
}

#[derive(Debug, Clone)]
struct Spot {
    max_price: Option<u64>,
    persistent: bool,
    interruption: String,
}

#[derive(Debug, Clone)]
struct Disk {
    device: String,
    gib: u32,
    kind: String,
    iops: Option<u32>,
    throughput: Option<u32>,
    encrypted: bool,
    kms_key: Option<String>,
    snapshot: Option<String>,
    goes: bool,
}

impl Wish {
    /// Reads and checks what is asked for.
    ///
    /// # Errors
    /// What EC2 says for each thing that is wrong.
    pub(crate) fn read(context: &mut Context<'_>, params: &Params) -> Result<Self, ApiError> {
        let image_id = params.required("ImageId")?.to_owned();
        check_id("ami", "InvalidAMIID", &image_id)?;
        let image = context
            .catalog
            .image(&context.place.name, &image_id)
            .filter(|image| image.visible_to(context.account))
            .cloned()
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidAMIID.NotFound",
                    format!("The image id '[{image_id}]' does not exist"),
                )
            })?;
        // "Default: m1.small" of the API is offered nowhere any more.
        let kind = params.required("InstanceType")?;
        let kind = context
            .catalog
            .instance_type(kind)
            .cloned()
            .ok_or_else(|| ApiError::invalid("InstanceType", kind))?;
        check_fit(&image, &kind)?;
        let interface = interface(params)?;
        let zone = zone(context, params, interface)?;
        if let Some(zone) = &zone
            && !kind.offered_in(&zone.name)
        {
            return Err(unsupported(context, &kind, &zone.name));
        }
        let groups = groups(context, params, interface)?;
        let market = match params.text("InstanceMarketOptions.MarketType") {
            None | Some("on-demand") => Market::OnDemand,
            Some("spot") => Market::Spot,
            Some(other) => {
                return Err(ApiError::invalid("InstanceMarketOptions.MarketType", other));
            }
        };
        let tags = tags::specifications(params, TAGGED)?;
        if market == Market::OnDemand && tags.contains_key("spot-instances-request") {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                "You cannot specify tags for Spot instances requests if there are no Spot \
                 instances requests being created by the request.",
            ));
        }
        let spot = spot(params)?;
        let key_name = params.text("KeyName").map(str::to_owned);
        if let Some(name) = &key_name
            && !context.catalog.key_pairs.is_empty()
            && !context.catalog.key_pairs.contains(name)
        {
            return Err(ApiError::new(
                "InvalidKeyPair.NotFound",
                format!("The key pair '{name}' does not exist"),
            ));
        }
        let hibernation = params
            .flag("HibernationOptions.Configured")?
            .unwrap_or(false);
        let disks = disks(context, params, &image)?;
        if hibernation && (!kind.hibernates || !disks.iter().all(|disk| disk.encrypted)) {
            return Err(ApiError::new(
                "UnsupportedHibernationConfiguration",
                "The instance could not be launched because one or more parameter values do not \
                 meet the prerequisites for enabling hibernation: the type must support it and \
                 the root volume must be encrypted.",
            ));
        }
        Ok(Self {
            zone,
            market,
            tags,
            spot,
            groups,
            public: match interface {
                Some(interface) => interface.flag("AssociatePublicIpAddress")?,
                None => None,
            }
            // Default subnets give out public addresses.
            .unwrap_or(true),
            user_data: user_data(params)?,
            key_name,
            profile: profile(context, params),
            disks,
            interface_stays: match interface {
                Some(interface) => interface.flag("DeleteOnTermination")? == Some(false),
                None => false,
            },
            description: interface
                .and_then(|interface| interface.text("Description"))
                .unwrap_or_default()
                .to_owned(),
            shutdown_terminates: match params.text("InstanceInitiatedShutdownBehavior") {
                None | Some("stop") => false,
                Some("terminate") => true,
                Some(other) => {
                    return Err(ApiError::invalid(
                        "InstanceInitiatedShutdownBehavior",
                        other,
                    ));
                }
            },
            protected: params.flag("DisableApiTermination")?.unwrap_or(false),
            hibernation,
            metadata: metadata(params)?,
            client_token: params.text("ClientToken").unwrap_or_default().to_owned(),
            image_id,
            image,
            kind,
        })
    }

    /// Whether the spot market's price in a zone is within what is offered.
    ///
    /// # Errors
    /// `SpotMaxPriceTooLow`.
    pub(crate) fn check_price(&self, zone: &str) -> Result<(), ApiError> {
        let price = self.kind.spot_price(zone);
        match self.spot.max_price {
            Some(offered) if self.market == Market::Spot && offered < price => Err(ApiError::new(
                "SpotMaxPriceTooLow",
                format!(
                    "Your Spot request price of {} is lower than the minimum required Spot \
                     request fulfillment price of {}.",
                    crate::catalog::dollars(offered),
                    crate::catalog::dollars(price)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Makes instances in a zone that has been found to have room for them.
    pub(crate) fn launch(
        &self,
        context: &mut Context<'_>,
        zone: &Zone,
        reservation: &str,
        count: u32,
    ) -> Vec<String> {
        (0..count)
            .map(|index| self.launch_one(context, zone, reservation, index))
            .collect()
    }

    fn launch_one(
        &self,
        context: &mut Context<'_>,
        zone: &Zone,
        reservation: &str,
        index: u32,
    ) -> String {
        let id = context.new_id("i");
        let now = context.now;
        let subnet = context.place.subnet(context.account, zone);
        let vpc = context.place.vpc(context.account);
        let private_address = context.take_address(zone);
        let public_address = self
            .public
            .then(|| Context::public_address(private_address));
        let volumes = self.make_volumes(context, &id, zone);
        let interface = context.new_id("eni");
        context.region.interfaces.insert(
            interface.clone(),
            Interface {
                id: interface.clone(),
                subnet: subnet.clone(),
                vpc: vpc.clone(),
                zone: zone.name.clone(),
                private_address,
                public_address,
                groups: self.groups.clone(),
                description: self.description.clone(),
                tags: self.tagged("network-interface"),
                attached: Some(id.clone()),
                attached_at: now,
                delete_on_termination: !self.interface_stays,
            },
        );
        let spot_request =
            (self.market == Market::Spot).then(|| self.make_spot_request(context, &id, zone));
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.to_owned(),
            launch_index: index,
            image: self.image_id.clone(),
            instance_type: self.kind.name.clone(),
            vcpus: self.kind.vcpus,
            architecture: self.kind.architecture.name(),
            windows: self.image.windows,
            zone: zone.name.clone(),
            subnet,
            vpc,
            private_address,
            public_address,
            groups: self.groups.clone(),
            key_name: self.key_name.clone(),
            profile: self.profile.clone(),
            market: self.market,
            spot_request,
            client_token: self.client_token.clone(),
            state: State::Pending,
            reason: Some(Reason::pending()),
            launched: now,
            tags: self.tagged("instance"),
            user_data: self.user_data.clone(),
            root_device: self.image.root_device.clone(),
            volumes,
            interface,
            shutdown_terminates: self.shutdown_terminates,
            protected: self.protected,
            hibernation: self.hibernation,
            hibernated: false,
            metadata: self.metadata.clone(),
            reclaim_at: None,
            doomed: match &context.fault {
                Some(Fault::FailedLaunch { code }) => Some(code.clone()),
                _ => None,
            },
        };
        let hidden_until = context.seen_from();
        context
            .region
            .instances
            .insert(id.clone(), Lagged::new(instance, hidden_until));
        context.boots(&id);
        id
    }

    fn make_volumes(
        &self,
        context: &mut Context<'_>,
        instance: &str,
        zone: &Zone,
    ) -> BTreeMap<String, String> {
        let mut volumes = BTreeMap::new();
        for disk in &self.disks {
            let id = context.new_id("vol");
            volumes.insert(disk.device.clone(), id.clone());
            let volume = Volume {
                id: id.clone(),
                gib: disk.gib,
                kind: disk.kind.clone(),
                iops: disk.iops,
                throughput: disk.throughput,
                zone: zone.name.clone(),
                encrypted: disk.encrypted,
                kms_key: disk.kms_key.clone(),
                snapshot: disk.snapshot.clone(),
                tags: self.tagged("volume"),
                created: context.now,
                attached: Some((instance.to_owned(), disk.device.clone())),
                delete_on_termination: disk.goes,
            };
            context.region.volumes.insert(id, volume);
        }
        volumes
    }

    fn make_spot_request(&self, context: &mut Context<'_>, instance: &str, zone: &Zone) -> String {
        let id = format!("sir-{:08x}", context.rng.u32(..));
        let request = SpotRequest {
            id: id.clone(),
            instance: instance.to_owned(),
            instance_type: self.kind.name.clone(),
            image: self.image_id.clone(),
            zone: zone.name.clone(),
            max_price: self.spot.max_price.unwrap_or(self.kind.price),
            persistent: self.spot.persistent,
            interruption: self.spot.interruption.clone(),
            state: "active",
            status: "fulfilled",
            updated: context.now,
            created: context.now,
            tags: self.tagged("spot-instances-request"),
        };
        context.region.spot_requests.insert(id.clone(), request);
        id
    }

    fn tagged(&self, kind: &str) -> Tags {
        self.tags.get(kind).cloned().unwrap_or_default()
    }
}

fn check_fit(image: &Image, kind: &InstanceType) -> Result<(), ApiError> {
    if image.architecture != kind.architecture {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "The architecture '{}' of the specified instance type does not match the \
                 architecture '{}' of the specified AMI. Specify an instance type and an AMI that \
                 have matching architectures, and try again. You can use 'describe-instance-types' \
                 or 'describe-images' to discover the architecture of the instance type or AMI.",
                kind.architecture.name(),
                image.architecture.name()
            ),
        ));
    }
    // docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html
    if image.boot_mode == BootMode::Uefi && !kind.nitro {
        return Err(ApiError::new(
            "UnsupportedOperation",
            format!(
                "The instance type '{}' does not support an AMI with boot mode 'uefi'.",
                kind.name
            ),
        ));
    }
    Ok(())
}

/// The refusal of a zone that does not offer a type.
pub(crate) fn unsupported(context: &Context<'_>, kind: &InstanceType, zone: &str) -> ApiError {
    let others: Vec<&str> = context
        .place
        .zones
        .iter()
        .map(|zone| zone.name.as_str())
        .filter(|zone| kind.offered_in(zone))
        .collect();
    ApiError::new(
        "Unsupported",
        format!(
            "Your requested instance type ({}) is not supported in your requested Availability \
             Zone ({zone}). Please retry your request by not specifying an Availability Zone or \
             choosing {}.",
            kind.name,
            others.join(", ")
        ),
    )
}

/// The one network interface that a request may describe.
fn interface(params: &Params) -> Result<Option<&Params>, ApiError> {
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

fn zone(
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

fn groups(
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

fn spot(params: &Params) -> Result<Spot, ApiError> {
    let options = params.at("InstanceMarketOptions.SpotOptions");
    let text = |name| options.and_then(|options| options.text(name));
    let persistent = match text("SpotInstanceType") {
        None | Some("one-time") => false,
        Some("persistent") => true,
        Some(other) => return Err(ApiError::invalid("SpotInstanceType", other)),
    };
    let interruption = text("InstanceInterruptionBehavior").unwrap_or("terminate");
    if interruption != "terminate" && !persistent {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            format!(
                "Interruption behavior '{interruption}' is only supported for persistent Spot \
                 requests."
            ),
        ));
    }
    Ok(Spot {
        max_price: text("MaxPrice").map(millionths).transpose()?,
        persistent,
        interruption: interruption.to_owned(),
    })
}

/// A price as the API takes it, in millionths of a dollar.
pub(crate) fn millionths(price: &str) -> Result<u64, ApiError> {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    let digits: String = part.chars().chain("000000".chars()).take(6).collect();
    match (whole.parse::<u32>(), digits.parse::<u64>()) {
        (Ok(whole), Ok(part)) => Ok(u64::from(whole) * 1_000_000 + part),
        _ => Err(ApiError::invalid("MaxPrice", price)),
    }
}

fn user_data(params: &Params) -> Result<Option<Arc<[u8]>>, ApiError> {
    let Some(text) = params.text("UserData") else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text).map_err(|_| {
        ApiError::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if bytes.len() > USER_DATA {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("User data is limited to {USER_DATA} bytes"),
        ));
    }
    Ok(Some(bytes.into()))
}

fn profile(context: &Context<'_>, params: &Params) -> Option<String> {
    let arn = params.text("IamInstanceProfile.Arn").map(str::to_owned);
    arn.or_else(|| {
        let name = params.text("IamInstanceProfile.Name")?;
        Some(format!(
            "arn:aws:iam::{}:instance-profile/{name}",
            context.account
        ))
    })
}

fn metadata(params: &Params) -> Result<MetadataOptions, ApiError> {
    let options = params.at("MetadataOptions");
    let text = |name| options.and_then(|options| options.text(name));
    let hop_limit = match options {
        Some(options) => options.number("HttpPutResponseHopLimit")?.unwrap_or(1),
        None => 1,
    };
    if !(1..=64).contains(&hop_limit) {
        return Err(ApiError::invalid(
            "HttpPutResponseHopLimit",
            &hop_limit.to_string(),
        ));
    }
    Ok(MetadataOptions {
        tokens: text("HttpTokens").unwrap_or("optional").to_owned(),
        hop_limit,
        endpoint: text("HttpEndpoint").unwrap_or("enabled").to_owned(),
        instance_tags: text("InstanceMetadataTags") == Some("enabled"),
    })
}

fn disks(context: &Context<'_>, params: &Params, image: &Image) -> Result<Vec<Disk>, ApiError> {
    let mut disks = vec![Disk {
        device: image.root_device.clone(),
        gib: image.root_gib,
        kind: "gp3".to_owned(),
        iops: None,
        throughput: None,
        encrypted: false,
        kms_key: None,
        snapshot: Some(image.snapshot(&context.place.name)),
        goes: true,
    }];
    for mapping in params.list("BlockDeviceMapping") {
        let device = mapping.required("DeviceName")?;
        let Some(ebs) = mapping.at("Ebs") else {
            continue;
        };
        if disks.iter().all(|disk| disk.device != device) {
            disks.push(Disk {
                device: device.to_owned(),
                gib: 0,
                snapshot: None,
                ..disks[0].clone()
            });
        }
        let Some(disk) = disks.iter_mut().find(|disk| disk.device == device) else {
            continue;
        };
        if let Some(gib) = ebs.number("VolumeSize")? {
            let smallest = if disk.snapshot.is_some() { disk.gib } else { 1 };
            if gib < smallest {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    format!(
                        "Volume of size {gib}GB is smaller than snapshot '{}', expect size >= \
                         {smallest}GB",
                        disk.snapshot.as_deref().unwrap_or_default()
                    ),
                ));
            }
            disk.gib = gib;
        }
        if disk.gib == 0 {
            return Err(ApiError::missing("BlockDeviceMapping.Ebs.VolumeSize"));
        }
        if let Some(kind) = ebs.text("VolumeType") {
            if !["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].contains(&kind) {
                return Err(ApiError::invalid("VolumeType", kind));
            }
            kind.clone_into(&mut disk.kind);
        }
        disk.iops = ebs.number("Iops")?.or(disk.iops);
        if disk.iops.is_none() && disk.kind.starts_with("io") {
            return Err(ApiError::new(
                "MissingParameter",
                format!(
                    "The parameter iops must be specified for {} volumes.",
                    disk.kind
                ),
            ));
        }
        disk.throughput = ebs.number("Throughput")?.or(disk.throughput);
        disk.encrypted = ebs.flag("Encrypted")?.unwrap_or(disk.encrypted);
        disk.kms_key = ebs.text("KmsKeyId").map(str::to_owned);
        disk.goes = ebs.flag("DeleteOnTermination")?.unwrap_or(true);
    }
    Ok(disks)
}
