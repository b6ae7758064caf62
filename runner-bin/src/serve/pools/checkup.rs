//! All that can be said of an EC2 pool before a machine of it is launched.

use vmpool_aws::checkup::{Finding, credentials, permissions, security_groups, subnets};
use vmpool_aws::image::ImageName;
use vmpool_aws::{ec2, ssm};
use vmpool_core::ProviderError;
use vmpool_pipeline::{AmazonSpec, PoolSpec};

use super::amazon::{login, template};
use super::start_up::agent;

/// What was found, and where machines of the pool would download their agent.
pub(crate) async fn check_up(pool: &PoolSpec, spec: &AmazonSpec) -> (Vec<Finding>, Vec<String>) {
    let config = login(&spec.account).connect().await;
    let urls = agent(&pool.platform.arch, None).urls;
    let who = credentials(&config).await;
    let is_known = who.result.is_ok();
    let mut found = vec![who];
    if config.region().is_none() {
        let said = "none is known: set spec.account.region, or AWS_REGION";
        found.push(of("region", Err(said.to_owned())));
    }
    if found.len() > 1 || !is_known {
        // Whatever else is asked would fail for the same reason.
        return (found, urls);
    }
    let (ec2, ssm) = (ec2(&config), ssm(&config));
    let mut template = template(pool, spec);
    let image = ImageName::of(&spec.ami, spec.ami_owners.clone());
    match image.find(&ec2, &ssm).await {
        Ok(image) => {
            found.push(of("image", Ok(image.id.clone())));
            let fits = image.check_types(&ec2, &spec.sizes).await;
            let fits = fits.map(|()| spec.sizes.join(", "));
            found.push(of("types", fits.map_err(|error| told(&error, "spec.size"))));
            template.image = image.id;
        }
        Err(error) => found.push(of("image", Err(told(&error, "spec.ami")))),
    }
    found.extend(subnets(&ec2, &template).await);
    found.extend(security_groups(&ec2, &template).await);
    let makes_group = template.machine.network.security_groups.is_empty();
    if makes_group {
        let ranges = &spec.network.allow_from;
        let result = if ranges.is_empty() {
            Err(
                "no security group is named, and nobody is to be admitted: set \
                 network.security_groups or network.allow_from"
                    .to_owned(),
            )
        } else {
            Ok(format!("a group is made that admits {}", ranges.join(", ")))
        };
        found.push(of("route to the agents", result));
    }
    if !template.image.is_empty() {
        found.extend(permissions(&ec2, &template, makes_group).await);
    }
    let quota = format!(
        "not asked: see that Service Quotas gives this account the vCPUs of {} machines of {}",
        pool.limit,
        spec.sizes.join(" or ")
    );
    found.push(of("quota", Ok(quota)));
    (found, urls)
}

fn of(check: &str, result: Result<String, String>) -> Finding {
    Finding {
        check: check.to_owned(),
        result,
    }
}

fn told(error: &ProviderError, key: &str) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    format!("{text}: mend {key}")
}
