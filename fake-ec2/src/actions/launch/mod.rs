//! What a launch asks for, checked.
//!
//! `RunInstances` and `CreateFleet` both come here. A request is laid over its
//! launch template first (`actions/templates.rs`); the instances are made in
//! `make.rs`.

mod disks;
mod make;
mod place;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::disks::Disk;
use crate::actions::tags::{self, ByKind};
use crate::catalog::{BootMode, Image, InstanceType, Zone};
use crate::cloud::{Context, Market, MetadataOptions, check_id};
use crate::error::ApiError;
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
        let interface = place::interface(params)?;
        let zone = place::zone(context, params, interface)?;
        if let Some(zone) = &zone
            && !kind.offered_in(&zone.name)
        {
            return Err(unsupported(context, &kind, &zone.name));
        }
        let groups = place::groups(context, params, interface)?;
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
        let disks = disks::read(context, params, &image)?;
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
