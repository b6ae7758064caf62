//! What a machine is born with: the order's facts that its agent starts from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Attempt, OrderId};
use crate::secret::SecretBytes;

/// What the provider places on a new machine, and all of it.
///
/// The only secret is [`Bootstrap::secret`], which is worthless once the
/// machine is enrolled. There is no private key here: the agent makes its own.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The order the machine comes from.
    pub order: OrderId,
    /// The order's attempt.
    pub attempt: Attempt,
    /// The deployment's CA certificate, PEM: whom the agent obeys.
    pub ca_pem: String,
    /// The name that the runners' certificates carry (SAN).
    pub runner_name: String,
    /// The enrolment secret: HKDF(enrolment key, order, attempt).
    pub secret: SecretBytes,
    /// The dead-man's clocks.
    pub clocks: Clocks,
}

/// The dead-man's clocks of DESIGN §5: a machine that nobody rules ends itself.
/// All are monotonic on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// Not enrolled for this long after boot ⇒ end.
    pub boot: Duration,
    /// No stage and no renewal for this long ⇒ end.
    pub idle: Duration,
    /// With a stage: its deadline plus this long for a runner to come back ⇒ end.
    pub stage_grace: Duration,
    /// End at once when the parent's pipe closes.
    pub attached: bool,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            boot: Duration::from_mins(30),
            idle: Duration::from_mins(10),
            stage_grace: Duration::from_hours(1),
            attached: false,
        }
    }
}
