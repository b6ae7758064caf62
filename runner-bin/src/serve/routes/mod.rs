//! What the incumbent's HTTP lacks: pools and stages, seen and told what to do,
//! and logs while they grow. JSON over the same calls as `vmpool.v1`, so that
//! both say the same.
//!
//! A runner that hands over answers 503 with `Retry-After`, and closes the
//! connection: the next one listens at the same address. Streams end then, and
//! go on there from the offset that was reached.

mod incumbent;
mod log;
mod openapi;
mod pools;
mod refused;
mod stages;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serde::Deserialize;
use utoipa::ToSchema;

use self::refused::Refused;
use super::grpc::Service;

/// The largest body: two lines of text.
const MOST_BYTES: usize = 64 << 10;

/// The routes, for as long as the runner of `service` has its pools.
pub(super) fn routes(service: Service) -> Router {
    Router::new()
        .route("/pools", get(pools::all))
        .route("/pools/{pool}", get(pools::one))
        .route("/pools/{pool}/cordon", post(pools::cordon))
        .route("/pools/{pool}/drain", post(pools::drain))
        .route("/pools/{pool}/fill", post(pools::fill))
        .route("/stages", get(stages::all))
        .route("/stages/{stage}", get(stages::one))
        .route("/stages/{stage}/explain", get(stages::explain))
        .route("/stages/{stage}/cancel", post(stages::cancel))
        .route(
            "/stages/{stage}/hold",
            post(stages::hold).delete(stages::release_hold),
        )
        .route(
            "/stages/{stage}/steps/{step}/cancel",
            post(stages::cancel_step),
        )
        .route("/stages/{stage}/steps/{step}/log", get(log::log))
        .route("/openapi.json", get(openapi::openapi))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(service)
}

/// Who says something, and why. Both may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Word {
    /// In the caller's own words; one who is known by name is named so.
    by: String,
    /// Told to whoever is refused by it.
    why: String,
}

impl Word {
    /// # Errors
    /// The body is not empty, and no such JSON.
    fn read(body: &[u8]) -> Result<Self, Refused> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| Refused::bad(format!("the body: {error}")))
    }
}

#[cfg(test)]
mod tests;
