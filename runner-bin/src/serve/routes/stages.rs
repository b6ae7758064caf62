//! Stages and their steps: shown, explained, cancelled.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use vmpool_proto::v1;
use vmpool_proto::v1::runner_server::Runner as _;

use super::pools::by;
use super::{Refused, Word};
use crate::serve::access::Caller;
use crate::serve::grpc::Service;
use crate::told;

/// Which stages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Those of this pool alone.
    #[serde(default)]
    pool: String,
}

/// The stages that have machines, and those that wait for one; at other runners, as far as these answer.
#[utoipa::path(get, path = "/stages", tag = "stages", params(Which), responses(
    (status = 200, body = told::Stages),
    (status = 404, description = "there is no such pool", body = super::refused::Failure),
    (status = 503, description = "ask again", body = super::refused::Failure),
))]
pub(super) async fn all(
    State(service): State<Service>,
    Query(Which { pool }): Query<Which>,
    caller: Caller,
) -> Result<Json<told::Stages>, Refused> {
    let request = by(caller, v1::StagesRequest { pool });
    let listed = service.stages(request).await?.into_inner();
    Ok(Json(told::Stages::from(&listed)))
}

/// A stage, also after its end, for as long as the journal remembers it.
#[utoipa::path(get, path = "/stages/{stage}", tag = "stages",
    params(("stage" = String, Path, description = "the stage's id")),
    responses(
        (status = 200, body = told::Stage),
        (status = 404, description = "there is no such stage", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn one(
    State(service): State<Service>,
    Path(stage_id): Path<String>,
    caller: Caller,
) -> Result<Json<told::Stage>, Refused> {
    let request = by(caller, v1::OneStageRequest { stage_id });
    let stage = service.one_stage(request).await?.into_inner();
    Ok(Json(told::Stage::from(&stage)))
}

/// What happened to a stage, a machine, an order or a request that waits, and why.
#[utoipa::path(get, path = "/stages/{stage}/explain", tag = "stages",
    params(("stage" = String, Path, description = "the stage's id, or a machine's or an order's")),
    responses(
        (status = 200, body = told::Story),
        (status = 404, description = "nothing is known of it", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn explain(
    State(service): State<Service>,
    Path(subject): Path<String>,
    caller: Caller,
) -> Result<Json<told::Story>, Refused> {
    let request = by(caller, v1::ExplainRequest { subject });
    let story = service.explain(request).await?.into_inner();
    Ok(Json(told::Story::from(&story)))
}

/// Ends a stage: its steps are cancelled, its machine is given up. One that has ended stays so.
#[utoipa::path(post, path = "/stages/{stage}/cancel", tag = "stages",
    params(("stage" = String, Path, description = "the stage's id")),
    request_body(content = Option<Word>, description = "who says so, and why; may be left out"),
    responses(
        (status = 204, description = "it has ended, durably"),
        (status = 404, description = "there is no such stage", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn cancel(
    State(service): State<Service>,
    Path(stage_id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let Word { by: who, why } = Word::read(&body)?;
    let request = v1::CancelStageRequest {
        stage_id,
        by: who,
        why,
    };
    service.cancel_stage(by(caller, request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How long a machine is to be kept, who says so, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepFor {
    /// After the stage's end, or from now where it has ended.
    lasts_ms: u64,
    /// In the caller's own words; one who is known by name is named so.
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

/// Keeps a stage's machine after the stage's end, for a person to look at it.
#[utoipa::path(post, path = "/stages/{stage}/hold", tag = "stages",
    params(("stage" = String, Path, description = "the stage's id")),
    request_body = KeepFor,
    responses(
        (status = 200, description = "it will be kept, or is", body = told::Held),
        (status = 400, description = "it can't be kept so long", body = super::refused::Failure),
        (status = 404, description = "there is no such stage", body = super::refused::Failure),
        (status = 409, description = "its machine is ending", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn hold(
    State(service): State<Service>,
    Path(stage_id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<told::Held>, Refused> {
    let wanted = serde_json::from_slice(&body);
    let wanted: KeepFor = wanted.map_err(|error| Refused::bad(format!("the body: {error}")))?;
    let request = v1::HoldRequest {
        stage_id,
        lasts_ms: wanted.lasts_ms,
        by: wanted.by,
        why: wanted.why,
    };
    let held = service.hold(by(caller, request)).await?.into_inner();
    Ok(Json(told::Held::from(&held)))
}

/// Keeps a stage's machine no longer. One that is not kept is no error.
#[utoipa::path(delete, path = "/stages/{stage}/hold", tag = "stages",
    params(("stage" = String, Path, description = "the stage's id")),
    responses(
        (status = 204, description = "it is not kept any more, durably"),
        (status = 404, description = "there is no such stage", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn release_hold(
    State(service): State<Service>,
    Path(stage_id): Path<String>,
    caller: Caller,
) -> Result<StatusCode, Refused> {
    let request = by(caller, v1::ReleaseHoldRequest { stage_id });
    service.release_hold(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a step; who waits for it is told. One that has ended stays so.
#[utoipa::path(post, path = "/stages/{stage}/steps/{step}/cancel", tag = "stages",
    params(
        ("stage" = String, Path, description = "the stage's id"),
        ("step" = String, Path, description = "the step's id"),
    ),
    responses(
        (status = 204, description = "its machine has taken it"),
        (status = 404, description = "there is no such step", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn cancel_step(
    State(service): State<Service>,
    Path((stage_id, step_id)): Path<(String, String)>,
    caller: Caller,
) -> Result<StatusCode, Refused> {
    let request = v1::CancelStepRequest { stage_id, step_id };
    service.cancel_step(by(caller, request)).await?;
    Ok(StatusCode::NO_CONTENT)
}
