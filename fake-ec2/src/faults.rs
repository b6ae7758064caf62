//! What goes wrong, and when: rules that a test scripts or lets chance pick.
//!
//! The first rule that fits a call and fires decides; what it does is one of
//! [`Fault`]. Missing capacity, quotas, permissions and throttling are states
//! of the cloud, not faults: see [`crate::Limits`] and [`crate::Policy`].

use fastrand::Rng;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Refused with this error, before any effect.
    Error {
        /// The code, for example `InternalError`.
        code: String,
        /// The sentence; empty: the fake's own.
        #[serde(default)]
        message: String,
    },
    /// Takes effect, and is answered with this error all the same.
    ErrorAfterEffect {
        /// The code.
        code: String,
    },
    /// The connection breaks before the call arrives.
    LoseRequest,
    /// Takes effect; the connection breaks before the answer.
    LoseAnswer,
    /// Takes effect at once and is answered late.
    Slow {
        /// How late, in milliseconds.
        by_ms: u64,
    },
    /// The machines that this call launches go from pending to terminated,
    /// with this state reason (`Server.InternalError`, `Client.InternalError`).
    FailedLaunch {
        /// The state reason's code.
        code: String,
    },
    /// This page has fewer items than asked for, perhaps none, and a token:
    /// documented for every paginated call.
    ShortPage,
}

impl Fault {
    pub(crate) fn error(&self) -> Option<ApiError> {
        match self {
            Self::Error { code, message } => Some(ApiError::new(
                code.clone(),
                if message.is_empty() {
                    format!("{code}, by the fault plan.")
                } else {
                    message.clone()
                },
            )),
            Self::ErrorAfterEffect { code } => {
                let message = "An internal error has occurred.";
                Some(ApiError::new(code.clone(), message))
            }
            _ => None,
        }
    }
}

/// When a fault happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The action that it is for; absent: every one.
    #[serde(default)]
    pub action: Option<String>,
    /// The account that it is for; absent: every one.
    #[serde(default)]
    pub account: Option<String>,
    /// How many fitting calls pass first.
    #[serde(default)]
    pub skip: u32,
    /// How often it happens; absent: always.
    #[serde(default)]
    pub times: Option<u32>,
    /// The chance of each fitting call, 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// It ends then.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// What happens.
    pub fault: Fault,
}

fn always() -> f64 {
    1.0
}

impl Rule {
    /// This fault at every call of an action.
    pub fn on(action: &str, fault: Fault) -> Self {
        Self {
            action: Some(action.to_owned()),
            ..Self::any(fault)
        }
    }

    /// This fault at every call.
    pub fn any(fault: Fault) -> Self {
        Self {
            action: None,
            account: None,
            skip: 0,
            times: None,
            chance: 1.0,
            until: None,
            fault,
        }
    }

    /// Not more often than this.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after this many fitting calls.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// By chance.
    #[must_use]
    pub fn with_chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Until a time.
    #[must_use]
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }
}

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds a rule, behind those that are there.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules, with what is left of them.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The fault of this call, if any.
    pub(crate) fn draw(
        &mut self,
        now: Timestamp,
        account: &str,
        action: &str,
        rng: &mut Rng,
    ) -> Option<Fault> {
        self.rules
            .retain(|rule| rule.until.is_none_or(|until| now < until) && rule.times != Some(0));
        for rule in &mut self.rules {
            let fits = rule.action.as_deref().is_none_or(|only| only == action)
                && rule.account.as_deref().is_none_or(|only| only == account);
            if !fits {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.chance < 1.0 && rng.f64() >= rule.chance {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            return Some(rule.fault.clone());
        }
        None
    }
}
