//! What the document says of the incumbent's routes. They are answered by
//! [`http`](crate::serve::http), with the types of [`wire`]; of fields that are
//! not listed nothing depends.

#![expect(dead_code, reason = "the document is made of these; nobody calls them")]

use vmpool_proto::incumbent::PollStepAnswer;

use super::refused::Failure;
use crate::serve::wire;

/// Whether a pool, or a stage in it, is this deployment's.
#[utoipa::path(post, path = "/pool_owner", tag = "builds",
    params(
        ("pool" = String, Query, description = "the pool's name"),
        ("stageId" = Option<String>, Query, description = "a stage that may have its machine there"),
    ),
    responses(
        (status = 200, body = wire::Owned),
        (status = 400, description = "no pool is named", body = Failure),
        (status = 401, description = "a token is wanted", body = Failure),
        (status = 403, description = "the pool is not for the caller", body = Failure),
    ))]
pub(super) fn pool_owner() {}

/// A machine for a stage, prepared. The stage that has its machine gets the same again.
#[utoipa::path(post, path = "/setup", tag = "builds", request_body = wire::SetupVm,
    responses(
        (status = 200, body = wire::SetUp<'static>),
        (status = 400, description = "a field can't be used, or differs from the first time",
         body = Failure),
        (status = 401, description = "a token is wanted", body = Failure),
        (status = 403, description = "the pool is not for the caller", body = Failure),
        (status = 413, description = "the body is too large", body = Failure),
        (status = 429, description = "the caller has too many stages, or asks too often",
         body = Failure),
        (status = 500, description = "no machine; says what was tried", body = Failure),
        (status = 503, description = "ask again", body = Failure),
    ))]
pub(super) fn setup() {}

/// Runs a step and answers when it has ended. One that was asked for before is attached to.
#[utoipa::path(post, path = "/step", tag = "builds", request_body = wire::ExecuteVm,
    responses(
        (status = 200, description = "it has ended, however it did", body = PollStepAnswer),
        (status = 400, description = "a field can't be used, or differs from the first time",
         body = Failure),
        (status = 401, description = "a token is wanted", body = Failure),
        (status = 413, description = "the body is too large", body = Failure),
        (status = 500, description = "there is no such stage, or its machine does not answer",
         body = Failure),
        (status = 503, description = "ask again", body = Failure),
    ))]
pub(super) fn step() {}

/// Ends a stage. It is durable when it is answered; the machine's end follows.
#[utoipa::path(post, path = "/destroy", tag = "builds", request_body = wire::DestroyVm,
    responses(
        (status = 200, description = "it has ended, or was not there; the body is empty"),
        (status = 400, description = "no stage is named", body = Failure),
        (status = 401, description = "a token is wanted", body = Failure),
        (status = 503, description = "ask again", body = Failure),
    ))]
pub(super) fn destroy() {}

/// Is refused: machines serve one stage and end with it.
#[utoipa::path(post, path = "/suspend", tag = "builds", request_body = wire::SuspendVm,
    responses(
        (status = 400, description = "why", body = Failure),
        (status = 401, description = "a token is wanted", body = Failure),
    ))]
pub(super) fn suspend() {}

/// The process is there.
#[utoipa::path(get, path = "/healthz", tag = "watching", responses(
    (status = 200, description = "`OK`", body = String, content_type = "text/plain"),
))]
pub(super) fn healthz() {}

/// Every pool has an owner, the journal answers, and no end is near.
#[utoipa::path(get, path = "/readyz", tag = "watching", responses(
    (status = 200, description = "`OK`", body = String, content_type = "text/plain"),
    (status = 503, description = "why not", body = String, content_type = "text/plain"),
))]
pub(super) fn readyz() {}

/// For Prometheus; also at an address of its own where one is given.
#[utoipa::path(get, path = "/metrics", tag = "watching", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 401, description = "a token is wanted", body = Failure),
))]
pub(super) fn metrics() {}
