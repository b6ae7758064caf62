//! What happened to something, and why.

use serde::Serialize;
use utoipa::ToSchema;
use vmpool_proto::v1;

/// What happened to something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Story {
    pub(crate) subject: String,
    /// `stage`, `machine`, `order` or `request`.
    pub(crate) kind: String,
    /// One sentence: how it stands, and why.
    pub(crate) summary: String,
    pub(crate) moments: Vec<Moment>,
    pub(crate) phases: Vec<Phase>,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Moment {
    pub(crate) at_unix_ms: u64,
    /// `machine local-…`, `stage 17`.
    pub(crate) of: String,
    pub(crate) what: String,
    pub(crate) cause: String,
}

/// What some of the time went to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Phase {
    /// `waiting`, `booting`, `preparing`, `running`, …
    pub(crate) name: String,
    pub(crate) since_unix_ms: u64,
    pub(crate) took_ms: u64,
    /// False: it goes on.
    pub(crate) over: bool,
}

impl From<&v1::ExplainResponse> for Story {
    fn from(story: &v1::ExplainResponse) -> Self {
        let moment = |moment: &v1::Moment| Moment {
            at_unix_ms: moment.at_unix_ms,
            of: moment.of.clone(),
            what: moment.what.clone(),
            cause: moment.cause.clone(),
        };
        let phase = |phase: &v1::Phase| Phase {
            name: phase.name.clone(),
            since_unix_ms: phase.since_unix_ms,
            took_ms: phase.took_ms,
            over: phase.over,
        };
        Self {
            subject: story.subject.clone(),
            kind: story.kind.clone(),
            summary: story.summary.clone(),
            moments: story.moments.iter().map(moment).collect(),
            phases: story.phases.iter().map(phase).collect(),
        }
    }
}
