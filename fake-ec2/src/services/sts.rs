//! STS: `GetCallerIdentity` and `AssumeRole`.
//!
//! "AWS Security Token Service API Reference" (docs.aws.amazon.com/STS/latest/
//! APIReference). Temporary keys work until the cloud ends.

use jiff::{SignedDuration, Timestamp};

use crate::clock::iso;
use crate::cloud::{Call, Cloud, Identity, Reply, Role};
use crate::error::ApiError;
use crate::params::Params;
use crate::policy::unauthorized;
use crate::xml::Element;

impl Cloud {
    /// One call of STS.
    pub fn apply_sts(&mut self, now: Timestamp, call: &Call) -> Reply {
        let name = call.params.text("Action").unwrap_or_default();
        let needs = vec![format!("sts:{name}")];
        self.envelop(now, call, name, needs, |cloud, identity, _| match name {
            "GetCallerIdentity" => Ok(caller(identity, &call.access_key)),
            "AssumeRole" => cloud.assume(now, identity, &call.params),
            _ => Err(ApiError::new(
                "InvalidAction",
                format!("Could not find operation {name} for version 2011-06-15"),
            )),
        })
    }

    fn assume(
        &mut self,
        now: Timestamp,
        identity: &Identity,
        params: &Params,
    ) -> Result<Element, ApiError> {
        let arn = params.required("RoleArn")?;
        let session = params.required("RoleSessionName")?;
        let lasts: i64 = params.number("DurationSeconds")?.unwrap_or(3600);
        if !(900..=43_200).contains(&lasts) {
            return Err(ApiError::new(
                "ValidationError",
                "DurationSeconds must be between 900 and 43200",
            ));
        }
        let (account, role_name) = role_parts(arn)
            .ok_or_else(|| ApiError::new("ValidationError", format!("{arn} is invalid")))?;
        let denied = || unauthorized(&identity.arn, "sts:AssumeRole");
        if !identity.policy.allows("sts:AssumeRole") {
            return Err(denied());
        }
        let roles = &self.config().roles;
        let role = match roles.get(arn) {
            Some(role) => role.clone(),
            None if roles.is_empty() => Role::default(),
            None => return Err(denied()),
        };
        if role.external_id.is_some() && role.external_id.as_deref() != params.text("ExternalId") {
            return Err(denied());
        }
        let assumed = format!("arn:aws:sts::{account}:assumed-role/{role_name}/{session}");
        let (key, secret, id) = {
            let rng = self.rng();
            (
                format!("ASIA{}", characters(rng, 16)),
                characters(rng, 40),
                format!("AROA{}", characters(rng, 17)),
            )
        };
        self.config_mut().identities.insert(
            key.clone(),
            Identity {
                account: account.to_owned(),
                arn: assumed.clone(),
                policy: role.policy,
                revoked: false,
            },
        );
        let credentials = Element::new("Credentials")
            .with("AccessKeyId", &key)
            .with("SecretAccessKey", secret)
            .with("SessionToken", format!("fake-ec2-session-{key}"))
            .with("Expiration", iso(now + SignedDuration::from_secs(lasts)));
        let user = Element::new("AssumedRoleUser")
            .with("AssumedRoleId", format!("{id}:{session}"))
            .with("Arn", assumed);
        Ok(Element::new("AssumeRoleResponse").child(
            Element::new("AssumeRoleResult")
                .child(credentials)
                .child(user),
        ))
    }
}

fn caller(identity: &Identity, access_key: &str) -> Element {
    Element::new("GetCallerIdentityResponse").child(
        Element::new("GetCallerIdentityResult")
            .with("Arn", &identity.arn)
            .with("UserId", access_key)
            .with("Account", &identity.account),
    )
}

/// Account and name of `arn:aws:iam::<account>:role/<path/name>`.
fn role_parts(arn: &str) -> Option<(&str, &str)> {
    let (account, name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    let name = name.rsplit('/').next()?;
    (account.len() == 12 && !name.is_empty()).then_some((account, name))
}

fn characters(rng: &mut fastrand::Rng, count: usize) -> String {
    std::iter::repeat_with(|| rng.alphanumeric().to_ascii_uppercase())
        .take(count)
        .collect()
}
