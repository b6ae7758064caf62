//! `/openapi.json`: the routes, made from the types that they take and give.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::{incumbent, log, pools, stages};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "vmpool",
        description = "Fresh, warm machines for CI stages. Times are milliseconds since 1970; what \
            is not known is null; fields may be added. Every call may be made again.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        incumbent::pool_owner,
        incumbent::setup,
        incumbent::step,
        incumbent::destroy,
        incumbent::suspend,
        incumbent::healthz,
        incumbent::readyz,
        incumbent::metrics,
        pools::all,
        pools::one,
        pools::cordon,
        pools::drain,
        pools::fill,
        stages::all,
        stages::one,
        stages::explain,
        stages::cancel,
        stages::cancel_step,
        stages::hold,
        stages::release_hold,
        log::log,
    ),
    components(schemas(log::End))
)]
struct Api;

/// The document as it is served.
pub(super) fn document() -> Document {
    Api::openapi()
}

pub(super) async fn openapi() -> Json<Document> {
    Json(document())
}
