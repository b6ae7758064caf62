//! `DescribeInstanceTypes`, `DescribeInstanceTypeOfferings`.

use crate::actions::answer;
use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::catalog::{Architecture, InstanceType};
use crate::cloud::{Context, Tags};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn describe_instance_types(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "bare-metal",
        "burstable-performance-supported",
        "current-generation",
        "hibernation-supported",
        "hypervisor",
        "instance-type",
        "memory-info.size-in-mib",
        "processor-info.supported-architecture",
        "supported-boot-mode",
        "supported-usage-class",
        "vcpu-info.default-vcpus",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let names = params.texts("InstanceType");
    if names.len() > 100 {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "At most 100 instance types can be specified",
        ));
    }
    let unknown: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| context.catalog.instance_type(name).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(ApiError::new(
            "InvalidInstanceType",
            format!(
                "The following supplied instance types do not exist: [{}]",
                unknown.join(", ")
            ),
        ));
    }
    let found: Vec<InstanceType> = context
        .catalog
        .types
        .iter()
        .filter(|kind| names.is_empty() || names.contains(&kind.name.as_str()))
        .filter(|kind| filters.pass(&Tags::new(), |name| field(kind, name)))
        .cloned()
        .collect();
    let page = page(context, params, 5..=100, found, |kind| kind.name.clone())?;
    Ok(answer("DescribeInstanceTypesResponse")
        .list("instanceTypeSet", page.items.iter().map(instance_type))
        .maybe("nextToken", page.next))
}

fn boot_modes(kind: &InstanceType) -> &'static [&'static str] {
    match (kind.architecture, kind.nitro) {
        (Architecture::Arm64, _) => &["uefi"],
        (Architecture::X86_64, true) => &["legacy-bios", "uefi"],
        (Architecture::X86_64, false) => &["legacy-bios"],
    }
}

fn field(kind: &InstanceType, name: &str) -> Vec<String> {
    let value = match name {
        "bare-metal" => kind.metal().to_string(),
        "burstable-performance-supported" => kind.burstable().to_string(),
        "current-generation" => "true".to_owned(),
        "hibernation-supported" => kind.hibernates.to_string(),
        "hypervisor" => hypervisor(kind).to_owned(),
        "instance-type" => kind.name.clone(),
        "memory-info.size-in-mib" => kind.memory_mib.to_string(),
        "processor-info.supported-architecture" => kind.architecture.name().to_owned(),
        "supported-boot-mode" => return boot_modes(kind).iter().map(ToString::to_string).collect(),
        "supported-usage-class" => return vec!["on-demand".to_owned(), "spot".to_owned()],
        "vcpu-info.default-vcpus" => kind.vcpus.to_string(),
        _ => return Vec::new(),
    };
    vec![value]
}

fn hypervisor(kind: &InstanceType) -> &'static str {
    if kind.nitro { "nitro" } else { "xen" }
}

fn items(name: &'static str, values: &[&str]) -> Element {
    Element::new(name).children(values.iter().map(|value| Element::of("item", value)))
}

fn instance_type(kind: &InstanceType) -> Element {
    let threads = match kind.architecture {
        Architecture::X86_64 if kind.vcpus > 1 => 2,
        _ => 1,
    };
    Element::new("item")
        .with("instanceType", &kind.name)
        .with("currentGeneration", true)
        .with("freeTierEligible", kind.name == "t3.micro")
        .child(items("supportedUsageClasses", &["on-demand", "spot"]))
        .child(items("supportedRootDeviceTypes", &["ebs"]))
        .child(items("supportedVirtualizationTypes", &["hvm"]))
        .with("bareMetal", kind.metal())
        .maybe("hypervisor", (!kind.metal()).then_some(hypervisor(kind)))
        .child(
            Element::new("processorInfo")
                .child(items("supportedArchitectures", &[kind.architecture.name()]))
                .with(
                    "manufacturer",
                    match kind.architecture {
                        Architecture::X86_64 => "Intel",
                        Architecture::Arm64 => "AWS",
                    },
                ),
        )
        .child(
            Element::new("vCpuInfo")
                .with("defaultVCpus", kind.vcpus)
                .with("defaultCores", kind.vcpus / threads)
                .with("defaultThreadsPerCore", threads),
        )
        .child(Element::new("memoryInfo").with("sizeInMiB", kind.memory_mib))
        .with("instanceStorageSupported", false)
        .child(
            Element::new("ebsInfo")
                .with("ebsOptimizedSupport", "default")
                .with("encryptionSupport", "supported")
                .with(
                    "nvmeSupport",
                    if kind.nitro {
                        "required"
                    } else {
                        "unsupported"
                    },
                ),
        )
        .child(
            Element::new("networkInfo")
                .with("networkPerformance", "Up to 10 Gigabit")
                .with("maximumNetworkInterfaces", 3)
                .with("maximumNetworkCards", 1)
                .with("defaultNetworkCardIndex", 0)
                .with("ipv4AddressesPerInterface", 10)
                .with("ipv6AddressesPerInterface", 10)
                .with("ipv6Supported", true)
                .with(
                    "enaSupport",
                    if kind.nitro {
                        "required"
                    } else {
                        "unsupported"
                    },
                )
                .with("efaSupported", false),
        )
        .child(Element::new("placementGroupInfo").child(items(
            "supportedStrategies",
            &["cluster", "partition", "spread"],
        )))
        .with("hibernationSupported", kind.hibernates)
        .with("burstablePerformanceSupported", kind.burstable())
        .with("dedicatedHostsSupported", !kind.burstable())
        .with("autoRecoverySupported", true)
        .child(items("supportedBootModes", boot_modes(kind)))
        .with("nitroEnclavesSupport", "unsupported")
        .with(
            "nitroTpmSupport",
            if kind.nitro {
                "supported"
            } else {
                "unsupported"
            },
        )
}

pub(crate) fn describe_instance_type_offerings(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let filters = Filters::read(params, &["instance-type", "location"])?;
    let location_type = params.text("LocationType").unwrap_or("region");
    let mut locations: Vec<(String, String)> = Vec::new();
    for zone in &context.place.zones {
        let location = match location_type {
            "availability-zone" => &zone.name,
            "availability-zone-id" => &zone.id,
            "region" => &context.place.name,
            other => return Err(ApiError::invalid("LocationType", other)),
        };
        for kind in &context.catalog.types {
            let offer = (kind.name.clone(), location.clone());
            if kind.offered_in(&zone.name) && !locations.contains(&offer) {
                locations.push(offer);
            }
        }
    }
    locations.retain(|(kind, location)| {
        filters.pass(&Tags::new(), |name| {
            vec![match name {
                "instance-type" => kind.clone(),
                _ => location.clone(),
            }]
        })
    });
    let page = page(context, params, 5..=1000, locations, |(kind, location)| {
        format!("{kind} {location}")
    })?;
    Ok(answer("DescribeInstanceTypeOfferingsResponse")
        .list(
            "instanceTypeOfferingSet",
            page.items.iter().map(|(kind, location)| {
                Element::new("item")
                    .with("instanceType", kind)
                    .with("locationType", location_type)
                    .with("location", location)
            }),
        )
        .maybe("nextToken", page.next))
}
