//! Security groups. They admit nobody here: the fake has no packets.

use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::actions::{answer, tags};
use crate::cloud::{Context, Group, GroupRule, Lagged, Source, check_id};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn describe_security_groups(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "description",
        "group-id",
        "group-name",
        "ip-permission.cidr",
        "ip-permission.group-id",
        "owner-id",
        "tag-key",
        "vpc-id",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let ids = params.texts("GroupId");
    let names = params.texts("GroupName");
    let groups = visible(context);
    for id in &ids {
        check_id("sg", "InvalidGroupId", id)?;
        if groups.iter().all(|group| group.id != *id) {
            return Err(no_group(context, id));
        }
    }
    let account = context.account;
    let found: Vec<Group> = groups
        .into_iter()
        .filter(|group| ids.is_empty() || ids.contains(&group.id.as_str()))
        .filter(|group| names.is_empty() || names.contains(&group.name.as_str()))
        .filter(|group| {
            filters.pass(&group.tags, |name| {
                vec![match name {
                    "description" => group.description.clone(),
                    "group-id" => group.id.clone(),
                    "group-name" => group.name.clone(),
                    "owner-id" => account.to_owned(),
                    "vpc-id" => group.vpc.clone(),
                    "ip-permission.cidr" => {
                        return sources(group, |source| match source {
                            Source::Cidr(cidr) => Some(cidr),
                            _ => None,
                        });
                    }
                    "ip-permission.group-id" => {
                        return sources(group, |source| match source {
                            Source::Group(id) => Some(id),
                            _ => None,
                        });
                    }
                    _ => return Vec::new(),
                }]
            })
        })
        .collect();
    let page = page(context, params, 5..=1000, found, |group| group.id.clone())?;
    Ok(answer("DescribeSecurityGroupsResponse")
        .list(
            "securityGroupInfo",
            page.items.iter().map(|one| group(context, one)),
        )
        .maybe("nextToken", page.next))
}

fn sources(group: &Group, which: impl Fn(&Source) -> Option<&String>) -> Vec<String> {
    group
        .ingress
        .iter()
        .filter_map(|rule| which(&rule.source).cloned())
        .collect()
}

/// The groups that this reader sees.
fn visible(context: &mut Context<'_>) -> Vec<Group> {
    let all: Vec<Lagged<Group>> = context.region.groups.values().cloned().collect();
    all.iter()
        .filter_map(|group| context.look(group).cloned())
        .collect()
}

fn group(context: &Context<'_>, group: &Group) -> Element {
    Element::new("item")
        .with("ownerId", context.account)
        .with("groupId", &group.id)
        .with("groupName", &group.name)
        .with("groupDescription", &group.description)
        .with("vpcId", &group.vpc)
        .list(
            "ipPermissions",
            group.ingress.iter().map(|rule| permission(context, rule)),
        )
        .list(
            "ipPermissionsEgress",
            [Element::new("item")
                .with("ipProtocol", "-1")
                .list("groups", [])
                .list(
                    "ipRanges",
                    [Element::new("item").with("cidrIp", "0.0.0.0/0")],
                )
                .list("ipv6Ranges", [])
                .list("prefixListIds", [])],
        )
        .child(tags::set(&group.tags))
}

fn permission(context: &Context<'_>, rule: &GroupRule) -> Element {
    let described = |element: Element| element.maybe("description", rule.description.as_ref());
    let source = |which: &str, field: &'static str| {
        let (kind, value) = match &rule.source {
            Source::Cidr(cidr) => ("cidr", cidr),
            Source::Cidr6(cidr) => ("cidr6", cidr),
            Source::Group(id) => ("group", id),
        };
        (kind == which).then(|| {
            let item = Element::new("item");
            let item = if which == "group" {
                item.with("userId", context.account)
            } else {
                item
            };
            described(item.with(field, value))
        })
    };
    Element::new("item")
        .with("ipProtocol", &rule.protocol)
        .maybe("fromPort", rule.from_port)
        .maybe("toPort", rule.to_port)
        .list("groups", source("group", "groupId"))
        .list("ipRanges", source("cidr", "cidrIp"))
        .list("ipv6Ranges", source("cidr6", "cidrIpv6"))
        .list("prefixListIds", [])
}

pub(crate) fn create_security_group(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let name = params.required("GroupName")?;
    let description = params.required("GroupDescription")?;
    if name.len() > 255 || name.starts_with("sg-") || name == "default" {
        return Err(ApiError::invalid("GroupName", name));
    }
    let vpc = context.place.vpc(context.account);
    if let Some(asked) = params.text("VpcId").filter(|asked| *asked != vpc) {
        return Err(ApiError::not_found("InvalidVpcID", "vpc ID", &[asked]));
    }
    let taken = context
        .region
        .groups
        .values()
        .any(|group| group.current().name == name);
    if taken {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let mut tags = tags::specifications(params, &["security-group"])?;
    let id = context.new_id("sg");
    let group = Group {
        id: id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        vpc,
        tags: tags.remove("security-group").unwrap_or_default(),
        ingress: Vec::new(),
    };
    let shown = tags::set(&group.tags);
    let hidden_until = context.seen_from();
    let group = Lagged::new(group, hidden_until);
    context.region.groups.insert(id.clone(), group);
    Ok(answer("CreateSecurityGroupResponse")
        .with("return", true)
        .with("groupId", id)
        .child(shown))
}

pub(crate) fn delete_security_group(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let id = named(context, params)?;
    if id == context.place.default_group(context.account) {
        return Err(ApiError::new(
            "CannotDelete",
            "the specified group: default name: \"default\" cannot be deleted by a user",
        ));
    }
    let used = context
        .region
        .interfaces
        .values()
        .any(|interface| interface.groups.contains(&id));
    if used {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    context.region.groups.remove(&id);
    Ok(answer("DeleteSecurityGroupResponse")
        .with("return", true)
        .with("groupId", id))
}

/// Adds rules, all or none.
pub(crate) fn authorize_security_group_ingress(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let id = named(context, params)?;
    let mut rules = Vec::new();
    for permission in params.list("IpPermissions") {
        rules.extend(read_permission(context, permission)?);
    }
    if rules.is_empty() {
        return Err(ApiError::missing("IpPermissions"));
    }
    let group = context
        .region
        .groups
        .get(&id)
        .ok_or_else(|| no_group(context, &id))?;
    let known = &group.current().ingress;
    let same = |one: &GroupRule, other: &GroupRule| {
        (&one.protocol, one.from_port, one.to_port, &one.source)
            == (
                &other.protocol,
                other.from_port,
                other.to_port,
                &other.source,
            )
    };
    if let Some(rule) = rules
        .iter()
        .find(|rule| known.iter().any(|known| same(known, rule)))
    {
        return Err(ApiError::new(
            "InvalidPermission.Duplicate",
            format!(
                "the specified rule \"peer: {:?}, {}\" already exists",
                rule.source, rule.protocol
            ),
        ));
    }
    let shown: Vec<Element> = rules.iter().map(|rule| made(context, &id, rule)).collect();
    let (now, seen_from) = (context.now, context.seen_from());
    if let Some(group) = context.region.groups.get_mut(&id) {
        group.change(now, seen_from, |group| group.ingress.extend(rules));
    }
    Ok(answer("AuthorizeSecurityGroupIngressResponse")
        .with("return", true)
        .list("securityGroupRuleSet", shown))
}

fn read_permission(
    context: &mut Context<'_>,
    permission: &Params,
) -> Result<Vec<GroupRule>, ApiError> {
    let protocol = permission.required("IpProtocol")?.to_owned();
    let from_port = permission.number("FromPort")?;
    let to_port = permission.number("ToPort")?;
    let mut sources = Vec::new();
    for (list, field) in [
        ("IpRanges", "CidrIp"),
        ("Ipv6Ranges", "CidrIpv6"),
        ("Groups", "GroupId"),
    ] {
        for source in permission.list(list) {
            let value = source.required(field)?.to_owned();
            let description = source.text("Description").map(str::to_owned);
            let source = match list {
                "IpRanges" => Source::Cidr(value),
                "Ipv6Ranges" => Source::Cidr6(value),
                _ => Source::Group(value),
            };
            sources.push((source, description));
        }
    }
    Ok(sources
        .into_iter()
        .map(|(source, description)| GroupRule {
            id: context.new_id("sgr"),
            protocol: protocol.clone(),
            from_port,
            to_port,
            source,
            description,
        })
        .collect())
}

fn made(context: &Context<'_>, group: &str, rule: &GroupRule) -> Element {
    let element = Element::new("item")
        .with("securityGroupRuleId", &rule.id)
        .with("groupId", group)
        .with("groupOwnerId", context.account)
        .with("isEgress", false)
        .with("ipProtocol", &rule.protocol)
        .with("fromPort", rule.from_port.unwrap_or(-1))
        .with("toPort", rule.to_port.unwrap_or(-1));
    let element = match &rule.source {
        Source::Cidr(cidr) => element.with("cidrIpv4", cidr),
        Source::Cidr6(cidr) => element.with("cidrIpv6", cidr),
        Source::Group(id) => element.child(
            Element::new("referencedGroupInfo")
                .with("groupId", id)
                .with("userId", context.account),
        ),
    };
    element.maybe("description", rule.description.as_ref())
}

/// The group that a call names, as far as this reader sees it.
fn named(context: &mut Context<'_>, params: &Params) -> Result<String, ApiError> {
    let groups = visible(context);
    if let Some(id) = params.text("GroupId") {
        check_id("sg", "InvalidGroupId", id)?;
        return match groups.into_iter().find(|group| group.id == id) {
            Some(group) => Ok(group.id),
            None => Err(no_group(context, id)),
        };
    }
    let name = params.required("GroupName")?;
    match groups.into_iter().find(|group| group.name == name) {
        Some(group) => Ok(group.id),
        None => Err(no_group(context, name)),
    }
}

fn no_group(context: &Context<'_>, named: &str) -> ApiError {
    ApiError::new(
        "InvalidGroup.NotFound",
        format!(
            "The security group '{named}' does not exist in VPC '{}'",
            context.place.vpc(context.account)
        ),
    )
}
