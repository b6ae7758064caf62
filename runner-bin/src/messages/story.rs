//! What `explain` tells.

use vmpool_core::explain::{Moment, Phase, Story};
use vmpool_proto::v1;

/// A story.
pub(crate) fn story(story: Story) -> v1::ExplainResponse {
    let moment = |moment: Moment| v1::Moment {
        at_unix_ms: moment.at.0,
        of: moment.of,
        what: moment.what,
        cause: moment.cause,
    };
    let phase = |phase: Phase| v1::Phase {
        name: phase.name,
        since_unix_ms: phase.since.0,
        took_ms: super::millis(phase.took),
        over: phase.over,
    };
    v1::ExplainResponse {
        subject: story.subject,
        kind: story.kind.as_str().to_owned(),
        summary: story.summary,
        moments: story.moments.into_iter().map(moment).collect(),
        phases: story.phases.into_iter().map(phase).collect(),
    }
}
