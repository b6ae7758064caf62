//! The actions of the EC2 API that the fake knows, one file a subject.
//!
//! An action names every parameter that it honours. Another one is refused
//! with `UnknownParameter`, so that no test passes because the fake ignored
//! what it was asked.

mod console;
mod describe;
mod filter;
mod fleet;
mod groups;
mod images;
mod launch;
mod network;
mod page;
mod run;
mod show;
mod spot;
mod state;
mod storage;
mod tags;
pub(crate) mod templates;
mod tokens;
mod types;

use crate::cloud::Context;
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

type Run = fn(&mut Context<'_>, &Params) -> Result<Element, ApiError>;

/// One action.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    /// The names of its parameters, but `Action`, `Version` and `DryRun`.
    params: &'static [&'static str],
    pub(crate) run: Run,
}

/// Every action.
const ACTIONS: &[Action] = &[
    Action {
        name: "RunInstances",
        params: launch::PARAMS,
        run: run::run_instances,
    },
    Action {
        name: "CreateFleet",
        params: fleet::PARAMS,
        run: fleet::create_fleet,
    },
    Action {
        name: "DescribeInstances",
        params: &["InstanceId", "MaxResults", "NextToken"],
        run: describe::describe_instances,
    },
    Action {
        name: "DescribeInstanceStatus",
        params: &[
            "InstanceId",
            "IncludeAllInstances",
            "MaxResults",
            "NextToken",
        ],
        run: describe::describe_instance_status,
    },
    Action {
        name: "TerminateInstances",
        params: &["InstanceId", "Force", "SkipOsShutdown"],
        run: state::terminate_instances,
    },
    Action {
        name: "StopInstances",
        params: &["InstanceId", "Hibernate", "Force", "SkipOsShutdown"],
        run: state::stop_instances,
    },
    Action {
        name: "StartInstances",
        params: &["InstanceId"],
        run: state::start_instances,
    },
    Action {
        name: "GetConsoleOutput",
        params: &["InstanceId", "Latest"],
        run: console::get_console_output,
    },
    Action {
        name: "CreateTags",
        params: &["ResourceId"],
        run: tags::create_tags,
    },
    Action {
        name: "DescribeVolumes",
        params: &["VolumeId", "MaxResults", "NextToken"],
        run: storage::describe_volumes,
    },
    Action {
        name: "DeleteVolume",
        params: &["VolumeId"],
        run: storage::delete_volume,
    },
    Action {
        name: "DescribeNetworkInterfaces",
        params: &["NetworkInterfaceId", "MaxResults", "NextToken"],
        run: storage::describe_network_interfaces,
    },
    Action {
        name: "DeleteNetworkInterface",
        params: &["NetworkInterfaceId"],
        run: storage::delete_network_interface,
    },
    Action {
        name: "DescribeInstanceTypes",
        params: &["InstanceType", "MaxResults", "NextToken"],
        run: types::describe_instance_types,
    },
    Action {
        name: "DescribeInstanceTypeOfferings",
        params: &["LocationType", "MaxResults", "NextToken"],
        run: types::describe_instance_type_offerings,
    },
    Action {
        name: "DescribeImages",
        params: &[
            "ImageId",
            "Owner",
            "ExecutableBy",
            "IncludeDeprecated",
            "IncludeDisabled",
            "MaxResults",
            "NextToken",
        ],
        run: images::describe_images,
    },
    Action {
        name: "DescribeRegions",
        params: &["RegionName", "AllRegions"],
        run: network::describe_regions,
    },
    Action {
        name: "DescribeAvailabilityZones",
        params: &["ZoneName", "ZoneId", "AllAvailabilityZones"],
        run: network::describe_availability_zones,
    },
    Action {
        name: "DescribeVpcs",
        params: &["VpcId", "MaxResults", "NextToken"],
        run: network::describe_vpcs,
    },
    Action {
        name: "DescribeSubnets",
        params: &["SubnetId", "MaxResults", "NextToken"],
        run: network::describe_subnets,
    },
    Action {
        name: "DescribeRouteTables",
        params: &["RouteTableId", "MaxResults", "NextToken"],
        run: network::describe_route_tables,
    },
    Action {
        name: "DescribeSecurityGroups",
        params: &["GroupId", "GroupName", "MaxResults", "NextToken"],
        run: groups::describe_security_groups,
    },
    Action {
        name: "CreateSecurityGroup",
        params: &["GroupName", "GroupDescription", "VpcId"],
        run: groups::create_security_group,
    },
    Action {
        name: "DeleteSecurityGroup",
        params: &["GroupId", "GroupName"],
        run: groups::delete_security_group,
    },
    Action {
        name: "AuthorizeSecurityGroupIngress",
        params: &["GroupId", "GroupName", "IpPermissions.*"],
        run: groups::authorize_security_group_ingress,
    },
    Action {
        name: "CreateLaunchTemplate",
        params: &[
            "LaunchTemplateName",
            "LaunchTemplateData.*",
            "ClientToken",
            "VersionDescription",
        ],
        run: templates::create_launch_template,
    },
    Action {
        name: "DescribeLaunchTemplates",
        params: &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "MaxResults",
            "NextToken",
        ],
        run: templates::describe_launch_templates,
    },
    Action {
        name: "DeleteLaunchTemplate",
        params: &["LaunchTemplateId", "LaunchTemplateName"],
        run: templates::delete_launch_template,
    },
    Action {
        name: "DescribeSpotPriceHistory",
        params: &[
            "InstanceType",
            "ProductDescription",
            "AvailabilityZone",
            "StartTime",
            "EndTime",
            "MaxResults",
            "NextToken",
        ],
        run: spot::describe_spot_price_history,
    },
    Action {
        name: "DescribeSpotInstanceRequests",
        params: &["SpotInstanceRequestId", "MaxResults", "NextToken"],
        run: spot::describe_spot_instance_requests,
    },
    Action {
        name: "CancelSpotInstanceRequests",
        params: &["SpotInstanceRequestId"],
        run: spot::cancel_spot_instance_requests,
    },
];

/// The action of that name.
pub(crate) fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The names of all actions, for help and for tests.
pub fn names() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|action| action.name)
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Action {
    /// Refuses what the action does not know.
    ///
    /// # Errors
    /// `UnknownParameter`.
    pub(crate) fn check_names(&self, params: &Params) -> Result<(), ApiError> {
        check_names(
            &params.without(&["Action", "Version", "DryRun"]),
            self.params,
        )
    }

    /// What a policy has to allow for a call: the action; tagging what it
    /// makes ("Grant permission to tag Amazon EC2 resources during creation",
    /// docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html);
    /// launching, for a fleet; giving the machine a role. What the call's launch
    /// templates say counts as if it said so itself.
    pub(crate) fn needs(&self, params: &Params, templates: &[&Params]) -> Vec<String> {
        let mut needs = vec![format!("ec2:{}", self.name)];
        if self.name == "CreateFleet" {
            needs.push("ec2:RunInstances".to_owned());
        }
        let says = |name| {
            let all = templates.iter().copied().chain([params]);
            all.into_iter().any(|said| said.at(name).is_some())
        };
        if says("TagSpecification") {
            needs.push("ec2:CreateTags".to_owned());
        }
        if says("IamInstanceProfile") {
            needs.push("iam:PassRole".to_owned());
        }
        needs
    }

    /// Machines that a call is about, which its resource bucket is charged.
    pub(crate) fn resources(&self, params: &Params) -> u32 {
        let count = match self.name {
            "RunInstances" => params.number("MaxCount").ok().flatten().unwrap_or(0),
            "TerminateInstances" | "StopInstances" | "StartInstances" => {
                params.list("InstanceId").len()
            }
            _ => 0,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether a listing asks for less than all at once.
    pub(crate) fn narrowed(&self, params: &Params) -> bool {
        let ids = self.params.first().copied().unwrap_or_default();
        ["MaxResults", "NextToken", ids]
            .iter()
            .any(|name| params.at(name).is_some())
    }
}

/// Refuses names that are not known: neither one of these, nor below one that
/// ends with `.*`. A list's numbers are left out of its items' names.
///
/// # Errors
/// `UnknownParameter`.
pub(crate) fn check_names(params: &Params, known: &[&str]) -> Result<(), ApiError> {
    const EVERYWHERE: &[&str] = &["Filter.*", "Tag.*", "TagSpecification.*"];
    for key in params.flatten().keys() {
        let parts: Vec<&str> = key
            .split('.')
            .filter(|part| part.parse::<u32>().is_err())
            .collect();
        let name = parts.join(".");
        let fits = |known: &&str| match known.strip_suffix(".*") {
            Some(above) => name
                .strip_prefix(above)
                .is_some_and(|below| below.starts_with('.')),
            None => name == **known,
        };
        if !known.iter().chain(EVERYWHERE).any(fits) {
            return Err(ApiError::new(
                "UnknownParameter",
                format!("The parameter {name} is not recognized"),
            ));
        }
    }
    Ok(())
}

/// The root of an action's answer.
pub(crate) fn answer(name: &'static str) -> Element {
    Element::new(name)
}
