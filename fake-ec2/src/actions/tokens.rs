//! Client tokens: a repeated request makes nothing anew.
//!
//! "Ensuring idempotency in Amazon EC2 API requests" (docs.aws.amazon.com/ec2/
//! latest/devguide/ec2-api-idempotency.html): same token and parameters, no
//! further action, and the answer may have newer states in it; same token,
//! other parameters, `IdempotentParameterMismatch`.

use crate::cloud::{Context, Spent, TokenKey};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// What counts as the same request: all but this.
const ASIDE: &[&str] = &["Action", "Version", "ClientToken", "DryRun"];

/// The token of a call, if it has one.
///
/// # Errors
/// `InvalidClientToken`: too long or not ASCII.
pub(crate) fn key(
    action: &'static str,
    zone: Option<String>,
    longest: usize,
    params: &Params,
) -> Result<Option<TokenKey>, ApiError> {
    let Some(token) = params.text("ClientToken").filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    if token.len() > longest || !token.is_ascii() {
        return Err(ApiError::new(
            "InvalidClientToken",
            format!("ClientToken may have at most {longest} ASCII characters"),
        ));
    }
    Ok(Some(TokenKey {
        action,
        token: token.to_owned(),
        zone,
    }))
}

/// What the same request made before.
///
/// # Errors
/// `IdempotentParameterMismatch`.
pub(crate) fn spent(
    context: &Context<'_>,
    key: Option<&TokenKey>,
    params: &Params,
) -> Result<Option<Spent>, ApiError> {
    let Some(spent) = key.and_then(|key| context.region.tokens.get(key)) else {
        return Ok(None);
    };
    if spent.params != params.without(ASIDE) {
        return Err(ApiError::new(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in \
             previous request(s).",
        ));
    }
    Ok(Some(spent.clone()))
}

/// Notes what a request made.
pub(crate) fn spend(
    context: &mut Context<'_>,
    key: Option<TokenKey>,
    params: &Params,
    made: &str,
    instances: &[String],
    answer: Option<Element>,
) {
    if let Some(key) = key {
        context.region.tokens.insert(
            key,
            Spent {
                params: params.without(ASIDE),
                made: made.to_owned(),
                instances: instances.to_vec(),
                answer,
            },
        );
    }
}
