//! Traces of builds, for a collector of OpenTelemetry: off unless one is named
//! (`--otlp`, or OpenTelemetry's own variables). One trace a stage:
//!
//! ```text
//! stage ── setup ── claim ── queue, commit
//!   │         └──── prepare
//!   ├───── step (the request) ── follow ── run (by the machine's clock)
//!   └───── destroy
//! ```
//! A caller that sends `traceparent` has these in its own trace, and no `stage`.
//! Else the trace's id comes from the deployment and the stage, so that any
//! runner's part of it finds the others'.
//!
//! Nothing of it slows or fails a build: a span that has ended is put into a
//! queue that is bounded, or dropped and counted; one task sends them.

mod caller;
mod exporter;
mod span;

use std::sync::OnceLock;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};
use vmpool_core::{DeploymentId, TRACED};

pub(super) use caller::{CallerLayer, carry, for_caller};
pub(super) use exporter::Exporter;
pub(super) use span::{of_call, stage_ended};

use exporter::Queue;

/// Variables that name a collector.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Spans that wait to be sent.
const MOST_WAITING: usize = 2048;

/// Where spans go, once there is a collector. The subscriber that makes them is
/// the process's, too.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// What tells stages of the same name apart.
static DEPLOYMENT: OnceLock<DeploymentId> = OnceLock::new();

/// Whose stages they are. Once a process.
pub(super) fn of_deployment(deployment: &DeploymentId) {
    DEPLOYMENT.get_or_init(|| deployment.clone());
}

/// A part of the process's subscriber.
type Layered<S> = Box<dyn Layer<S> + Send + Sync>;

/// What makes spans, and what sends them, if there is a collector: the one at
/// `otlp`, or the one that the environment names.
pub(super) fn begin<S>(otlp: Option<&str>) -> Option<(Layered<S>, Exporter)>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|is| is == "true");
    let named = otlp.is_some() || ENDPOINTS.iter().any(|name| variable(name).is_some());
    if is_off || !named {
        return None;
    }
    let (spans, ended) = mpsc::channel(MOST_WAITING);
    let queue = QUEUE.get_or_init(|| Queue::new(spans)).clone();
    let exporter = Exporter::new(otlp.map(str::to_owned), ended);
    let provider = SdkTracerProvider::builder()
        .with_resource(exporter.resource().clone())
        .with_span_processor(queue)
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("vmpool"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|of| of.is_span() && of.target() == TRACED));
    Some((Box::new(layer), exporter))
}

/// The log's filter, which the spans of traces are not for.
///
/// # Errors
/// `level` is none.
pub(super) fn log_filter(level: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(level).with_context(|| format!("--log-level {level}"))?;
    let off = format!("{TRACED}=off").parse();
    Ok(filter.add_directive(off.context("a filter without traces")?))
}
