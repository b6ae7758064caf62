//! What a sweep found and did.

use vmpool_core::sweep::{Other, Question, Report, Swept};
use vmpool_proto::v1::{SweepMachine, SweepOther, SweepResponse};

/// What came of a sweep that was asked so.
pub(crate) fn swept(report: Report, question: &Question<'_>, acted: bool) -> SweepResponse {
    let machine = |swept: Swept| SweepMachine {
        id: swept.machine.id.to_string(),
        pool: swept.machine.pool.to_string(),
        deployment_id: swept.machine.deployment.to_string(),
        expires_at_unix_ms: swept.machine.expires_at.0,
        why: swept.machine.why.to_string(),
        failed: swept.failed.unwrap_or_default(),
    };
    let other = |other: Other| SweepOther {
        deployment_id: other.deployment.to_string(),
        machines: other.machines,
        expired: other.expired,
    };
    let ours = question.ours.map(ToString::to_string);
    SweepResponse {
        ended: report.swept.into_iter().map(machine).collect(),
        others: report.others.into_iter().map(other).collect(),
        troubles: report.troubles,
        owner: question.owner.to_string(),
        deployment_id: ours.unwrap_or_default(),
        acted,
    }
}
