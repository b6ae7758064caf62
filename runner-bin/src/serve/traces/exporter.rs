//! The queue of spans that have ended, and the one task that sends them.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use metrics::Counter;
use opentelemetry::Context;
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::span;

/// Spans of one message at most.
const TOGETHER: usize = 512;

/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long the collector may take to take them.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take when the runner ends.
const LAST: Duration = Duration::from_secs(2);

/// The way into the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl Queue {
    pub(super) fn new(spans: mpsc::Sender<SpanData>) -> Self {
        Self(spans)
    }

    /// Puts a span that has ended into the queue, if there is room.
    pub(super) fn put(&self, span: SpanData) {
        if self.0.try_send(span).is_err() {
            dropped().increment(1);
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(run) = span::on_the_machine(&span) {
            self.put(run);
        }
        self.put(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what is in the queue.
#[derive(Debug)]
pub(in crate::serve) struct Exporter {
    endpoint: Option<String>,
    resource: Resource,
    ended: mpsc::Receiver<SpanData>,
}

impl Exporter {
    pub(super) fn new(endpoint: Option<String>, ended: mpsc::Receiver<SpanData>) -> Self {
        // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before.
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let builder = Resource::builder();
        let builder = if named {
            builder
        } else {
            builder.with_service_name("vmpool")
        };
        Self {
            endpoint,
            resource: builder.build(),
            ended,
        }
    }

    pub(super) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Sends spans until `until` is over, then those that wait still.
    ///
    /// # Errors
    /// The collector's address can't be used.
    pub(in crate::serve) async fn send_until<T>(
        exporter: Option<Self>,
        until: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        // They are told of from the beginning.
        let (_, _) = (sent(), dropped());
        let Some(mut exporter) = exporter else {
            return Ok(until.await);
        };
        let collector = exporter.collector().context("the collector of traces")?;
        let over = tokio::select! {
            over = until => over,
            never = exporter.send(&collector) => match never {},
        };
        exporter.ended.close();
        let _ = timeout(LAST, exporter.send_what_waits(&collector)).await;
        Ok(over)
    }

    fn collector(&self) -> anyhow::Result<Otlp> {
        let builder = Otlp::builder().with_tonic();
        let builder = match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let mut collector = builder.build()?;
        collector.set_resource(&self.resource);
        Ok(collector)
    }

    async fn send(&mut self, collector: &Otlp) -> Infallible {
        loop {
            let mut spans = Vec::with_capacity(TOGETHER);
            if self.ended.recv_many(&mut spans, 1).await == 0 {
                // The queue is never closed while this runs.
                return std::future::pending().await;
            }
            if self.ended.len() < TOGETHER {
                sleep(GATHER).await;
            }
            while spans.len() < TOGETHER
                && let Ok(span) = self.ended.try_recv()
            {
                spans.push(span);
            }
            export(collector, spans).await;
        }
    }

    async fn send_what_waits(&mut self, collector: &Otlp) {
        loop {
            let mut spans = Vec::new();
            if self.ended.recv_many(&mut spans, TOGETHER).await == 0 {
                return;
            }
            export(collector, spans).await;
        }
    }
}

async fn export(collector: &Otlp, spans: Vec<SpanData>) {
    let count = spans.len() as u64;
    match timeout(PATIENCE, collector.export(spans)).await {
        Ok(Ok(())) => sent().increment(count),
        Ok(Err(error)) => {
            tracing::debug!(%error, count, "the collector did not take spans");
            dropped().increment(count);
        }
        Err(_) => dropped().increment(count),
    }
}

fn sent() -> Counter {
    metrics::counter!("vmpool_trace_spans_total", "outcome" => "exported")
}

fn dropped() -> Counter {
    metrics::counter!("vmpool_trace_spans_total", "outcome" => "dropped")
}
