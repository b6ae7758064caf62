//! All that can be said of an EC2 pool before a machine of it is launched.

use vmpool_aws::checkup::{
    Finding, Verdict, credentials, permissions, security_groups, spot_prices, subnets,
};
use vmpool_aws::image::ImageName;
use vmpool_aws::{Ec2Account, ec2, ssm};
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::{Clock, ProviderError};
use vmpool_pipeline::{AmazonSpec, PoolSpec};

use super::amazon::{login, template};

/// What was found; where its machines' agents come from is not looked at.
pub(crate) async fn check_up(pool: &PoolSpec, spec: &AmazonSpec) -> Vec<Finding> {
    let login = match login(&spec.account) {
        Ok(login) => login,
        Err(error) => {
            let said = format!("{:#}: mend AWS_CA_BUNDLE", anyhow::Error::new(error));
            return vec![Finding::new("certificates", Err(said))];
        }
    };
    let config = login.connect().await;
    let who = credentials(&config).await;
    let is_known = who.verdict == Verdict::Fine;
    let mut found = vec![who];
    if config.region().is_none() {
        let said = "none is known: set spec.account.region, or AWS_REGION";
        found.push(Finding::new("region", Err(said.to_owned())));
    }
    if found.len() > 1 || !is_known {
        // Whatever else is asked would fail for the same reason.
        return found;
    }
    let (ec2, ssm) = (ec2(&config), ssm(&config));
    let mut template = template(pool, spec);
    let image = ImageName::of(&spec.ami, spec.ami_owners.clone());
    match image.find(&ec2, &ssm).await {
        Ok(image) => {
            found.push(Finding::new("image", Ok(image.id.clone())));
            let fits = image.check_types(&ec2, &spec.sizes).await;
            let fits = fits.map(|()| spec.sizes.join(", "));
            found.push(Finding::new(
                "types",
                fits.map_err(|error| told(&error, "spec.size")),
            ));
            template.image = image.id;
        }
        Err(error) => found.push(Finding::new("image", Err(told(&error, "spec.ami")))),
    }
    found.extend(subnets(&ec2, &template).await);
    found.extend(security_groups(&ec2, &template).await);
    let names_none = template.machine.network.security_groups.is_empty();
    let ranges = &spec.network.allow_from;
    let makes_group = names_none && !ranges.is_empty();
    if names_none {
        let result = if ranges.is_empty() {
            Err(
                "no security group is named, and nobody is to be admitted: set \
                 network.security_groups or network.allow_from"
                    .to_owned(),
            )
        } else {
            Ok(format!("a group is made that admits {}", ranges.join(", ")))
        };
        found.push(Finding::new("route to the agents", result));
    }
    if !template.image.is_empty() {
        found.extend(permissions(&ec2, &template, makes_group).await);
    }
    let account = Account::new(AccountConfig::ec2(""));
    let account = Ec2Account::new(&config, account, Clock::system());
    found.extend(spot_prices(&account, &template).await);
    let quota = format!(
        "see that Service Quotas gives this account the vCPUs of {} machines of {}",
        pool.limit,
        spec.sizes.join(" or ")
    );
    found.push(Finding::unknown("quota", quota));
    found
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
