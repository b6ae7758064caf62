//! What an account has and may do for a pool, looked at before it matters.
//! Nothing is changed: calls that would change something are made as `DryRun`,
//! which EC2 answers with what it would say.

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_fleet::builders::CreateFleetFluentBuilder;
use aws_sdk_ec2::operation::create_launch_template::builders::CreateLaunchTemplateFluentBuilder;
use aws_sdk_ec2::types::{
    FleetLaunchTemplateConfigRequest, FleetLaunchTemplateSpecificationRequest, FleetType,
    InstanceType, IpPermission, IpRange, RequestLaunchTemplateData, ResourceType, SecurityGroup,
    Tag, TagSpecification, TargetCapacitySpecificationRequest,
};
use vmpool_core::{Market, ProviderError};

use crate::account::Ec2Account;
use crate::failure::{failed, in_words};
use crate::prices::{self, cheaper};
use crate::template::{Template, Zone};

/// No launch template and no group has this name.
const NONE: &str = "vmpool-none";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What: `credentials`, `ec2:RunInstances`, `subnet subnet-1`.
    pub check: String,
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// What was found; or what is wrong, and what to mend.
    pub said: String,
}

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Fine,
    /// It is not.
    Wrong,
    /// It can't be told from here: a person has to look.
    Unknown,
}

impl Finding {
    /// What was found, or what is wrong.
    pub fn new(check: impl Into<String>, result: Result<String, String>) -> Self {
        let (verdict, said) = match result {
            Ok(said) => (Verdict::Fine, said),
            Err(said) => (Verdict::Wrong, said),
        };
        let check = check.into();
        Self {
            check,
            verdict,
            said,
        }
    }

    /// What was not looked at, or can't be.
    pub fn unknown(check: impl Into<String>, said: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict: Verdict::Unknown,
            said: said.into(),
        }
    }
}

/// Who calls, as STS knows it.
pub async fn credentials(account: &SdkConfig) -> Finding {
    let asked = aws_sdk_sts::Client::new(account);
    let asked = asked.get_caller_identity().send().await;
    let result = match asked {
        Ok(who) => Ok(who.arn.unwrap_or_default()),
        Err(error) => Err(format!(
            "{}: mend spec.account (access_key_id and access_key_secret, or role_arn), \
             AMAZON_ACCESS_KEY_ID and AMAZON_ACCESS_KEY_SECRET, or what the AWS SDK finds",
            in_words(&error)
        )),
    };
    Finding::new("credentials", result)
}

/// Whether each call may be made that machines of this template need.
/// `makes_group`: a security group is to be made for them.
pub async fn permissions(ec2: &Client, template: &Template, makes_group: bool) -> Vec<Finding> {
    /// No machine has this id: a call that may be made finds none.
    const NOBODY: &str = "i-00000000000000000";
    const NO_GROUP: &str = "sg-00000000000000000";
    let mut found = vec![launch(ec2, template).await];
    macro_rules! may {
        ($action:literal, $call:expr) => {
            found.push(may($action, &$call.dry_run(true).send().await));
        };
    }
    let sleeps = template.machine.hibernate;
    may!("DescribeInstances", ec2.describe_instances());
    may!(
        "TerminateInstances",
        ec2.terminate_instances().instance_ids(NOBODY)
    );
    may!(
        "GetConsoleOutput",
        ec2.get_console_output().instance_id(NOBODY)
    );
    may!("DescribeImages", ec2.describe_images());
    may!("DescribeInstanceTypes", ec2.describe_instance_types());
    if template.by_price(Market::Spot) {
        may!(
            "DescribeSpotPriceHistory",
            ec2.describe_spot_price_history()
        );
    }
    if template.types.len() > 1 || template.zones.len() > 1 {
        may!("CreateLaunchTemplate", new_template(ec2, template));
        may!("CreateFleet", fleet(ec2));
        may!("DescribeLaunchTemplates", ec2.describe_launch_templates());
        may!(
            "DeleteLaunchTemplate",
            ec2.delete_launch_template().launch_template_name(NONE)
        );
    }
    if makes_group {
        may!("DescribeSecurityGroups", ec2.describe_security_groups());
        may!(
            "CreateSecurityGroup",
            ec2.create_security_group()
                .group_name(NONE)
                .description("never made")
        );
        let range = IpRange::builder().cidr_ip("127.0.0.1/32").build();
        let rule = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(1)
            .to_port(1)
            .ip_ranges(range);
        may!(
            "AuthorizeSecurityGroupIngress",
            ec2.authorize_security_group_ingress()
                .group_id(NO_GROUP)
                .ip_permissions(rule.build())
        );
    }
    if sleeps {
        may!("StopInstances", ec2.stop_instances().instance_ids(NOBODY));
        may!("StartInstances", ec2.start_instances().instance_ids(NOBODY));
    }
    found
}

/// The description of a fleet's machines, that is never made.
fn new_template(ec2: &Client, template: &Template) -> CreateLaunchTemplateFluentBuilder {
    let data = RequestLaunchTemplateData::builder().image_id(&template.image);
    ec2.create_launch_template()
        .launch_template_name(NONE)
        .launch_template_data(data.build())
}

/// A fleet of one machine, by a template that is not there.
fn fleet(ec2: &Client) -> CreateFleetFluentBuilder {
    let template = FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(NONE)
        .version("1");
    let config = FleetLaunchTemplateConfigRequest::builder();
    let config = config.launch_template_specification(template.build());
    let capacity = TargetCapacitySpecificationRequest::builder().total_target_capacity(1);
    ec2.create_fleet()
        .r#type(FleetType::Instant)
        .launch_template_configs(config.build())
        .target_capacity_specification(capacity.build())
}

/// What spot machines cost now, where that decides.
pub async fn spot_prices(account: &Ec2Account, template: &Template) -> Option<Finding> {
    const CHECK: &str = "spot prices";
    if !template.by_price(Market::Spot) {
        return None;
    }
    let table = match prices::read(account, &template.types).await {
        Ok(table) => table,
        Err(error) => {
            let said = told_of(&error);
            let said = format!("{said}: places keep the pool file's order");
            return Some(Finding::unknown(CHECK, said));
        }
    };
    let anywhere = [Zone::default()];
    let zones = if template.zones.is_empty() {
        &anywhere[..]
    } else {
        &template.zones
    };
    let mut told = Vec::new();
    for kind in &template.types {
        for zone in zones {
            let place = [kind, " in ", zone.key()].concat();
            let place = place.trim_end_matches(" in ").to_owned();
            told.push((table.of(kind, zone), place));
        }
    }
    told.sort_by(|(a, _), (b, _)| cheaper(*a, *b));
    let told = told.iter().map(|(price, place)| match price {
        Some(price) => format!("{place} {price}"),
        None => format!("{place} not told"),
    });
    let told: Vec<_> = told.collect();
    Some(Finding::new(CHECK, Ok(told.join(", "))))
}

/// A launch of one machine, with all that the file says of it, and its tags.
async fn launch(ec2: &Client, template: &Template) -> Finding {
    let machine = &template.machine;
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .tags(Tag::builder().key("vmpool:owner").value("doctor").build());
    let kind = template.types.first().map(String::as_str);
    let zone = template.zones.first();
    let groups = &machine.network.security_groups;
    let call = ec2
        .run_instances()
        .dry_run(true)
        .min_count(1)
        .max_count(1)
        .image_id(&template.image)
        .set_instance_type(kind.map(InstanceType::from))
        .set_subnet_id(zone.and_then(|zone| zone.subnet.clone()))
        .set_security_group_ids((!groups.is_empty()).then(|| groups.clone()))
        .set_key_name(machine.key_pair.clone())
        .tag_specifications(tags.build());
    let check = "ec2:RunInstances, ec2:CreateTags";
    let result = match call.send().await {
        Ok(_) => Ok("may be called".to_owned()),
        Err(error) => match error.code() {
            Some("DryRunOperation") => Ok("may be called".to_owned()),
            _ => refused(check, &error),
        },
    };
    Finding::new(check, result)
}

/// What a dry run was answered: EC2 looks at permissions first, so that another
/// refusal than theirs means that the call may be made.
fn may<T, E>(action: &str, answered: &Result<T, SdkError<E>>) -> Finding
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let action = format!("ec2:{action}");
    let result = match answered {
        Ok(_) => Ok("may be called".to_owned()),
        Err(error) => match error.code() {
            Some(
                "UnauthorizedOperation"
                | "AccessDenied"
                | "AccessDeniedException"
                | "AuthFailure"
                | "InvalidClientTokenId"
                | "SignatureDoesNotMatch"
                | "OptInRequired",
            )
            | None => refused(&action, error),
            Some(_) => Ok("may be called".to_owned()),
        },
    };
    Finding::new(action, result)
}

fn refused<E>(what: &str, error: &SdkError<E>) -> Result<String, String>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let said = match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
        None => in_words(error),
    };
    let is_denied = matches!(error.code(), Some("UnauthorizedOperation" | "AccessDenied"));
    Err(if is_denied {
        format!("not allowed: add {what} to the policy of the runner's role or user")
    } else {
        said
    })
}

/// The subnets of the pool's zones, as far as the file names any.
pub async fn subnets(ec2: &Client, template: &Template) -> Vec<Finding> {
    let mut found = Vec::new();
    for zone in &template.zones {
        let Some(id) = &zone.subnet else { continue };
        let asked = ec2.describe_subnets().subnet_ids(id).send().await;
        let result = match asked {
            Err(error) => Err(format!("{}: mend subnet_id", told(&error))),
            Ok(answer) => match answer.subnets().first() {
                None => Err("there is none of this id: mend subnet_id".to_owned()),
                Some(subnet) => {
                    let is_in = subnet.availability_zone().unwrap_or_default();
                    let free = subnet.available_ip_address_count().unwrap_or(0);
                    if !zone.name.is_empty() && zone.name != is_in {
                        Err(format!(
                            "it is in {is_in}, not in {}: mend availability_zone or subnet_id",
                            zone.name
                        ))
                    } else if free < 1 {
                        Err("it has no free address: name another subnet_id".to_owned())
                    } else {
                        Ok(format!("in {is_in}, {free} free addresses"))
                    }
                }
            },
        };
        found.push(Finding::new(format!("subnet {id}"), result));
    }
    found
}

/// The security groups that the file names: whether they are there, and whether
/// one of them admits anybody to the agents' port.
pub async fn security_groups(ec2: &Client, template: &Template) -> Vec<Finding> {
    let network = &template.machine.network;
    let ids = &network.security_groups;
    if ids.is_empty() {
        return Vec::new();
    }
    let asked = ec2.describe_security_groups();
    let asked = asked.set_group_ids(Some(ids.clone())).send().await;
    let check = format!("security groups {}", ids.join(", "));
    let groups = match asked {
        Ok(answer) => answer.security_groups.unwrap_or_default(),
        Err(error) => {
            let wrong = format!("{}: mend network.security_groups", told(&error));
            return vec![Finding::new(check, Err(wrong))];
        }
    };
    let port = i32::from(network.agent_port);
    let mut rules = groups.iter().flat_map(SecurityGroup::ip_permissions);
    let is_open = rules.any(|rule| {
        let is_tcp = matches!(rule.ip_protocol(), Some("tcp" | "6" | "-1"));
        let from = rule.from_port().unwrap_or(0);
        let to = rule.to_port().unwrap_or(65_535);
        is_tcp && (rule.ip_protocol() == Some("-1") || (from..=to).contains(&port))
    });
    let route = if is_open {
        Ok(format!(
            "a security group admits some addresses to port {port}; whether this host is among \
             them is not known before a machine runs"
        ))
    } else {
        Err(format!(
            "no rule of the security groups admits anybody to port {port}: add one for the \
             runner's group or addresses"
        ))
    };
    vec![
        Finding::new(check, Ok("they are there".to_owned())),
        Finding::new("route to the agents", route),
    ]
}

fn told<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    told_of(&failed("ask EC2", error))
}

fn told_of(failure: &ProviderError) -> String {
    let source = std::error::Error::source(failure);
    source.map_or_else(|| failure.to_string(), ToString::to_string)
}
