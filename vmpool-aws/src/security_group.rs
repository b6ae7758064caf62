//! The security group of machines whose pool names none: one a deployment and
//! VPC, which admits named address ranges to the agents' port and nobody else.
//!
//! It is found by its tags, so that a restart or another runner uses the same.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    Filter, IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, Tag, TagSpecification,
};
use vmpool_core::{ErrorKind, Owner, ProviderError};

use crate::failure::{Said, failed};
use crate::tags;

/// What a made group admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admits {
    /// Whose machines.
    pub owner: Owner,
    /// The agents' port.
    pub port: u16,
    /// Address ranges: `10.0.0.0/8`, `fd00::/8`.
    pub ranges: Vec<String>,
    /// The VPC; `None`: the default one.
    pub vpc: Option<String>,
}

impl Admits {
    /// The group's id: the deployment's own, made if there is none. Ranges that
    /// it does not admit yet are added; others are left as they are.
    ///
    /// # Errors
    /// EC2 refused, or no range is named.
    pub async fn find_or_make(&self, client: &Client) -> Result<String, ProviderError> {
        let attempted = || format!("find or make the security group of {}", self.owner);
        if self.ranges.is_empty() {
            let error = ProviderError::new(ErrorKind::BadSpec, attempted());
            return Err(error.because(Said::new("no ranges", "nobody would be admitted")));
        }
        let vpc = match &self.vpc {
            Some(vpc) => vpc.clone(),
            None => default_vpc(client).await?,
        };
        let group = match self.find(client, &vpc).await? {
            Some(group) => group,
            None => match self.make(client, &vpc).await {
                Ok(id) => SecurityGroup::builder().group_id(id).build(),
                // Another runner was faster.
                Err(error) => self.find(client, &vpc).await?.ok_or(error)?,
            },
        };
        let id = group.group_id().unwrap_or_default();
        for range in &self.ranges {
            if !admits(&group, range, self.port) {
                self.admit(client, id, range).await?;
            }
        }
        Ok(id.to_owned())
    }

    fn name(&self) -> String {
        format!("vmpool-{}", self.owner)
    }

    async fn find(
        &self,
        client: &Client,
        vpc: &str,
    ) -> Result<Option<SecurityGroup>, ProviderError> {
        let with = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let sent = client
            .describe_security_groups()
            .filters(with("vpc-id", vpc))
            .filters(with("group-name", &self.name()))
            .filters(with(&format!("tag:{}", tags::OWNER), self.owner.as_str()))
            .send()
            .await;
        match sent {
            Ok(found) => Ok(found.security_groups.unwrap_or_default().pop()),
            Err(error) => Err(failed(
                format!("look for security group {} in {vpc}", self.name()),
                &error,
            )),
        }
    }

    async fn make(&self, client: &Client, vpc: &str) -> Result<String, ProviderError> {
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::SecurityGroup)
            .tags(
                Tag::builder()
                    .key(tags::OWNER)
                    .value(self.owner.as_str())
                    .build(),
            )
            .build();
        let sent = client
            .create_security_group()
            .group_name(self.name())
            .description("Runners of vmpool reach their agents")
            .vpc_id(vpc)
            .tag_specifications(tags)
            .send()
            .await;
        match sent {
            Ok(made) => Ok(made.group_id.unwrap_or_default()),
            Err(error) => Err(failed(
                format!("make security group {} in {vpc}", self.name()),
                &error,
            )),
        }
    }

    async fn admit(&self, client: &Client, id: &str, range: &str) -> Result<(), ProviderError> {
        let mut rule = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(self.port.into())
            .to_port(self.port.into());
        rule = if range.contains(':') {
            rule.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(range).build())
        } else {
            rule.ip_ranges(IpRange::builder().cidr_ip(range).build())
        };
        let sent = client
            .authorize_security_group_ingress()
            .group_id(id)
            .ip_permissions(rule.build())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidPermission.Duplicate") => Ok(()),
            Err(error) => Err(failed(format!("admit {range} to {id}"), &error)),
        }
    }
}

fn admits(group: &SecurityGroup, range: &str, port: u16) -> bool {
    let port = i32::from(port);
    group.ip_permissions().iter().any(|rule| {
        let ports = rule.from_port() <= Some(port) && Some(port) <= rule.to_port();
        let v4 = rule.ip_ranges().iter().any(|r| r.cidr_ip() == Some(range));
        let v6 = rule
            .ipv6_ranges()
            .iter()
            .any(|r| r.cidr_ipv6() == Some(range));
        ports && (v4 || v6)
    })
}

async fn default_vpc(client: &Client) -> Result<String, ProviderError> {
    let attempted = "find the default VPC";
    let is_default = Filter::builder().name("is-default").values("true").build();
    let sent = client.describe_vpcs().filters(is_default).send().await;
    let found = sent.map_err(|error| failed(attempted, &error))?;
    let vpc = found.vpcs.unwrap_or_default().pop();
    vpc.and_then(|vpc| vpc.vpc_id).ok_or_else(|| {
        let said = Said::new("none", "this region has no default VPC");
        ProviderError::new(ErrorKind::BadSpec, attempted).because(said)
    })
}
