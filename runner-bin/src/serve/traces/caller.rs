//! The trace that a request says it belongs to: W3C's `traceparent`.

use std::task::{self, Poll};

use futures_util::future::Either;
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use tokio::task::futures::TaskLocalFuture;
use tonic::metadata::{MetadataKey, MetadataMap};
use tower::{Layer, Service};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::QUEUE;

tokio::task_local! {
    /// The caller's span, while its request is answered.
    static CALLER: Context;
}

/// Keeps what a request says of its trace, while it is answered.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) struct CallerLayer;

impl<S> Layer<S> for CallerLayer {
    type Service = Heeding<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Heeding(inner)
    }
}

/// The service whose callers are heeded.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Heeding<S>(S);

impl<S, In> Service<http::Request<In>> for Heeding<S>
where
    S: Service<http::Request<In>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<TaskLocalFuture<Context, S::Future>, S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<In>) -> Self::Future {
        let said = said(request.headers());
        let answer = self.0.call(request);
        match said {
            Some(said) => Either::Left(CALLER.scope(said, answer)),
            None => Either::Right(answer),
        }
    }
}

/// What the headers say, where there are traces.
fn said(headers: &HeaderMap) -> Option<Context> {
    QUEUE.get()?;
    let propagator = TraceContextPropagator::new();
    let said = propagator.extract_with_context(&Context::new(), &Headers(headers));
    said.span().span_context().is_valid().then_some(said)
}

/// `work` as a task of its own, for the same caller.
pub(in crate::serve) fn for_caller<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match current() {
        Some(caller) => Either::Left(CALLER.scope(caller, work)),
        None => Either::Right(work),
    }
}

/// What the request that is answered said, if it said anything.
pub(super) fn current() -> Option<Context> {
    CALLER.try_with(Clone::clone).ok()
}

/// Says in a request to another runner which span it is part of.
pub(in crate::serve) fn carry(metadata: &mut MetadataMap) {
    if QUEUE.get().is_some() {
        let context = Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut Metadata(metadata));
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
