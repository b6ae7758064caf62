//! Who may do what: an account's principals and their allowed actions.
//!
//! A policy is two lists of action patterns; a denial wins. Resources and
//! conditions of IAM are not modelled: what the provider needs is a list of
//! actions, and that is what a test takes away.

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::wildcard::Pattern;

/// Actions as IAM writes them: `ec2:RunInstances`, `ec2:Describe*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What is allowed.
    #[serde(default = "everything")]
    pub allow: Vec<String>,
    /// What is not, whatever is allowed.
    #[serde(default)]
    pub deny: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Default for Policy {
    /// Everything is allowed.
    fn default() -> Self {
        Self {
            allow: everything(),
            deny: Vec::new(),
        }
    }
}

impl Policy {
    /// Only these actions.
    pub fn only<'a>(actions: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            allow: actions.into_iter().map(str::to_owned).collect(),
            deny: Vec::new(),
        }
    }

    /// Everything but these actions.
    pub fn all_but<'a>(actions: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            deny: actions.into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// Whether one action is allowed.
    pub fn allows(&self, action: &str) -> bool {
        let among = |patterns: &[String]| {
            patterns
                .iter()
                .any(|pattern| Pattern::new(pattern).matches(action))
        };
        among(&self.allow) && !among(&self.deny)
    }
}

/// The error for an action that a principal may not do.
pub(crate) fn unauthorized(principal: &str, action: &str) -> ApiError {
    let code = if action.starts_with("ec2:") || action.starts_with("iam:") {
        "UnauthorizedOperation"
    } else {
        "AccessDenied"
    };
    ApiError::new(
        code,
        format!(
            "You are not authorized to perform this operation. User: {principal} is not \
             authorized to perform: {action} because no identity-based policy allows the \
             {action} action."
        ),
    )
}
