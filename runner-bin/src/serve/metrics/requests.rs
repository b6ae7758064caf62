//! Counts requests by route and status, over HTTP and gRPC alike, and how long
//! their answers took to begin. A route's name is what it was registered as:
//! what nobody serves is counted as `other`, so that no caller makes names.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::MatchedPath;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

const OTHER: &str = "other";
const GRPC_STATUS: &str = "grpc-status";

/// Counts what goes through it.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) enum CountLayer {
    /// Routes of axum.
    Http,
    /// Methods of gRPC.
    Grpc,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counting { inner, of: *self }
    }
}

/// The service that is counted.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Counting<S> {
    inner: S,
    of: CountLayer,
}

impl<S, In, Out> Service<http::Request<In>> for Counting<S>
where
    S: Service<http::Request<In>, Response = http::Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<In>) -> Self::Future {
        let mut counted = match self.of {
            CountLayer::Http => {
                let matched = request.extensions().get::<MatchedPath>();
                let route = matched.map_or(OTHER, MatchedPath::as_str);
                Counted::new(self.of, route.to_owned())
            }
            CountLayer::Grpc => Counted::new(self.of, request.uri().path().to_owned()),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                counted.answered(answer);
            }
            answer
        })
    }
}

/// A request under way; counted when it is dropped.
struct Counted {
    of: CountLayer,
    route: String,
    status: String,
    begun: Instant,
}

impl Counted {
    fn new(of: CountLayer, route: String) -> Self {
        Self {
            of,
            route,
            status: "aborted".to_owned(),
            begun: Instant::now(),
        }
    }

    fn answered<Out>(&mut self, answer: &http::Response<Out>) {
        self.status = match self.of {
            CountLayer::Http => answer.status().as_str().to_owned(),
            CountLayer::Grpc => {
                // An answer that fails from the beginning says so in its head.
                let status = answer.headers().get(GRPC_STATUS);
                let code = status.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
                if code == Code::Unimplemented {
                    OTHER.clone_into(&mut self.route);
                }
                format!("{code:?}")
            }
        };
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (route, status) = (self.route.clone(), self.status.clone());
        let took = self.begun.elapsed().as_secs_f64();
        match self.of {
            CountLayer::Http => {
                let labels = [("route", route.clone()), ("status", status)];
                metrics::counter!("vmpool_http_requests_total", &labels).increment(1);
                metrics::histogram!("vmpool_http_request_seconds", "route" => route).record(took);
            }
            CountLayer::Grpc => {
                let labels = [("method", route.clone()), ("status", status)];
                metrics::counter!("vmpool_grpc_requests_total", &labels).increment(1);
                metrics::histogram!("vmpool_grpc_request_seconds", "method" => route).record(took);
            }
        }
    }
}
