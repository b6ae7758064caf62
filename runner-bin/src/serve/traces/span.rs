//! The spans that a build's requests have, that of its whole stage, and that of
//! what its machine did.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use vmpool_core::runner::Runner;
use vmpool_core::{DeploymentId, StageId, TRACED};

use super::{DEPLOYMENT, QUEUE, caller};

/// What the follower of a step notes of its machine's times.
const STARTED: &str = "run.started_at_unix_ms";
const ENDED: &str = "run.ended_at_unix_ms";

/// A request of `what` for `stage`, in the trace of its caller or its stage.
pub(in crate::serve) fn of_call(what: &'static str, stage: &StageId) -> Span {
    if QUEUE.get().is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TRACED, "request", otel.name = what, otel.kind = "server", stage = %stage
    );
    let parent = caller::current().unwrap_or_else(|| {
        let stage = of_stage(stage);
        Context::new().with_remote_span_context(stage)
    });
    // Fails only where no trace is made.
    let _ = span.set_parent(parent);
    span
}

/// The stage has ended: its own span, where the trace is its own.
///
/// # Cancel safety
/// Safe: the trace has no root then.
pub(in crate::serve) async fn stage_ended(runner: &Runner, stage: &StageId) {
    let Some(queue) = QUEUE.get().filter(|_| caller::current().is_none()) else {
        return;
    };
    let Ok(Some(record)) = runner.journal().stage(stage).await else {
        return;
    };
    let began = UNIX_EPOCH + Duration::from_millis(record.stage.claimed_at.0);
    let attributes = vec![
        KeyValue::new("stage", stage.to_string()),
        KeyValue::new("pool", record.stage.pool.to_string()),
        KeyValue::new("machine", record.stage.machine.to_string()),
    ];
    queue.put(SpanData {
        parent_span_id: SpanId::INVALID,
        span_kind: SpanKind::Internal,
        name: "stage".into(),
        attributes,
        ..span_of(of_stage(stage), began, SystemTime::now())
    });
}

/// What the machine did of the step that `followed` followed, by its own clock.
pub(super) fn on_the_machine(followed: &SpanData) -> Option<SpanData> {
    let at = |name: &str| {
        let mut noted = followed.attributes.iter();
        match noted.find(|noted| noted.key.as_str() == name)?.value {
            Value::I64(ms) => Some(UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).ok()?)),
            _ => None,
        }
    };
    let (began, ended) = (at(STARTED)?, at(ENDED)?);
    let of = &followed.span_context;
    let context = SpanContext::new(
        of.trace_id(),
        RandomIdGenerator::default().new_span_id(),
        of.trace_flags(),
        false,
        of.trace_state().clone(),
    );
    let attributes = followed.attributes.iter();
    let attributes = attributes.filter(|of| !of.key.as_str().starts_with("run."));
    Some(SpanData {
        parent_span_id: of.span_id(),
        name: "run".into(),
        attributes: attributes.cloned().collect(),
        ..span_of(context, began, ended)
    })
}

fn span_of(context: SpanContext, began: SystemTime, ended: SystemTime) -> SpanData {
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time: began,
        end_time: ended.max(began),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("vmpool").build(),
    }
}

/// The stage's own span: the same for all runners of its deployment.
fn of_stage(stage: &StageId) -> SpanContext {
    let deployment = DEPLOYMENT.get().map_or("", DeploymentId::as_str);
    let hash = digest(&SHA256, format!("{deployment}\n{stage}").as_bytes());
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&hash.as_ref()[..16]);
    span.copy_from_slice(&hash.as_ref()[16..24]);
    SpanContext::new(
        TraceId::from_bytes(trace),
        SpanId::from_bytes(span),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    )
}
