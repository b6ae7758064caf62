//! The HTTP routes: the incumbent's, and what watches over a runner.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use http_body_util::LengthLimitError;
use tokio::time::timeout;
use vmpool_core::Clock;
use vmpool_core::runner::{PoolOwner, Runner};

use super::access::Caller;
use super::call::Request;
use super::desk::Desk;
use super::doors::Crowded;
use super::metrics::{CountLayer, Metrics};
use super::traces::CallerLayer;
use super::wire::Answer;

/// The largest body of a request.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// How long a body may take to come: the largest at 6 Mbit/s.
const BODY_PATIENCE: Duration = Duration::from_secs(90);

/// How long the journal may take to show that it is there.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);

/// What Prometheus calls the form of `/metrics`.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes. `metrics` are among them unless they have a socket of their own.
pub(super) fn routes(desk: Desk, metrics: Option<Metrics>) -> Router {
    let watched = metrics.map(|metrics| metrics_route(metrics, desk.clone()));
    let routes = Router::new()
        .route("/healthz", get(async || "OK"))
        .route("/readyz", get(readyz))
        .route("/pool_owner", post(answer))
        .route("/setup", post(answer))
        .route("/step", post(answer))
        .route("/destroy", post(answer))
        .route("/suspend", post(answer))
        .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"))
        .with_state(desk);
    let routes = match watched {
        Some(watched) => routes.merge(watched),
        None => routes,
    };
    routes.layer(CallerLayer).layer(CountLayer::Http)
}

/// What watches over a runner, alone: for an address of its own.
pub(super) fn watching(desk: Desk, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "OK"))
        .route("/readyz", get(readyz))
        .with_state(desk.clone())
        .merge(metrics_route(metrics, desk))
        .layer(CountLayer::Http)
}

/// `/metrics` alone.
fn metrics_route(metrics: Metrics, desk: Desk) -> Router {
    let render = async move || {
        let rendered = metrics.render(desk.runner().as_ref(), &desk.pools());
        ([(CONTENT_TYPE, METRICS_TYPE)], rendered)
    };
    Router::new().route("/metrics", any(render))
}

async fn answer(State(desk): State<Desk>, request: http::Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let mut response = match read(body).await {
        Ok(body) => {
            let request = Request {
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                body,
                hops: 0,
                caller: Caller::of(&head.extensions),
            };
            response(desk.answer(request).await)
        }
        Err(answer) => response(answer),
    };
    if desk.is_left() {
        // The next request of this connection belongs to another process.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// The body, if it is not too large and comes in time.
async fn read(body: Body) -> Result<Bytes, Answer> {
    // One that is announced so is not begun: who waits for leave to send it sends nothing.
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(too_large());
    }
    match timeout(BODY_PATIENCE, to_bytes(body, MOST_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            if source.is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
                return Err(too_large());
            }
            if causes(&error).any(<dyn std::error::Error>::is::<Crowded>) {
                return Err(Answer::later(&Crowded.to_string()));
            }
            Err(Answer::malformed(StatusCode::BAD_REQUEST, "unexpected EOF"))
        }
        Err(_) => {
            let error = format!("the body did not come within {BODY_PATIENCE:?}");
            Err(Answer::malformed(StatusCode::REQUEST_TIMEOUT, &error))
        }
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn too_large() -> Answer {
    let mebibytes = MOST_BYTES >> 20;
    let error = format!("the body is larger than {mebibytes} MiB");
    Answer::malformed(StatusCode::PAYLOAD_TOO_LARGE, &error)
}

fn response(answer: Answer) -> Response {
    let retry_after = answer.retry_after();
    let mut response = (answer.status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    if let Ok(content_type) = HeaderValue::from_str(&answer.content_type)
        && !content_type.is_empty()
    {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Ready: every pool has an owner, the journal answers, and no end is near.
async fn readyz(State(desk): State<Desk>) -> (StatusCode, String) {
    let not_ready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if desk.is_stopping() {
        return not_ready("stopping".to_owned());
    }
    let Some(runner) = desk.runner() else {
        return not_ready("no runner yet".to_owned());
    };
    let ownerless = runner
        .status()
        .into_iter()
        .find(|pool| pool.owner == PoolOwner::Nobodys);
    if let Some(pool) = ownerless {
        return not_ready(format!("pool {} has no owner", pool.name));
    }
    match journal_trouble(&runner).await {
        None => (StatusCode::OK, "OK\n".to_owned()),
        Some(trouble) => not_ready(trouble),
    }
}

async fn journal_trouble(runner: &Runner) -> Option<String> {
    let asked = runner.journal().pools(Clock::system().now());
    match timeout(JOURNAL_PATIENCE, asked).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the journal does not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests;
