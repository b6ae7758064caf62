//! Pools: shown, and told whether to take stages.

use std::collections::HashMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use tonic::{Request, Status};
use vmpool_core::{Clock, PoolName};
use vmpool_proto::v1;
use vmpool_proto::v1::runner_server::Runner as _;

use super::{Refused, Word};
use crate::messages;
use crate::serve::access::Caller;
use crate::serve::grpc::Service;
use crate::told;

/// A request of `caller`, as the service takes it.
pub(super) fn by<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

/// All pools. Those of other runners are told as the journal has them.
#[utoipa::path(get, path = "/pools", tag = "pools", responses(
    (status = 200, body = told::Pools),
    (status = 503, description = "ask again", body = super::refused::Failure),
))]
pub(super) async fn all(
    State(service): State<Service>,
    caller: Caller,
) -> Result<Json<told::Pools>, Refused> {
    let asked = by(caller, v1::StatusRequest::default());
    let mut status = service.status(asked).await?.into_inner();
    if status.pools.iter().any(|pool| !pool.ours) {
        complete(&service, &mut status.pools).await?;
    }
    Ok(Json(told::Pools::of("runner", &status)))
}

/// What the journal has of the pools that are not ours.
async fn complete(service: &Service, pools: &mut [v1::Pool]) -> Result<(), Refused> {
    let journal = service.runner.journal();
    let unread = |error: vmpool_core::journal::JournalError| Status::unavailable(error.to_string());
    let owners = journal.pools(Clock::system().now()).await.map_err(unread)?;
    let owners: HashMap<_, _> = owners
        .iter()
        .map(|owner| (owner.pool.as_str(), owner))
        .collect();
    for pool in pools.iter_mut().filter(|pool| !pool.ours) {
        if let Some(owner) = owners.get(pool.name.as_str()) {
            let rows = journal.pool(&owner.pool).await.map_err(unread)?;
            let unknown = pool.unknown;
            *pool = messages::from_journal(owner, &rows);
            pool.unknown = unknown;
        }
    }
    Ok(())
}

/// A pool as its own runner sees it.
#[utoipa::path(get, path = "/pools/{pool}", tag = "pools",
    params(("pool" = String, Path, description = "the pool's name")),
    responses(
        (status = 200, body = told::Pool),
        (status = 404, description = "there is no such pool", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn one(
    State(service): State<Service>,
    Path(pool): Path<String>,
    caller: Caller,
) -> Result<Json<told::Pool>, Refused> {
    let name = PoolName::parse(&pool).map_err(|error| Refused::bad(format!("pool: {error}")))?;
    service.may_use(&caller, &name).map_err(Status::from)?;
    let request = v1::StatusRequest { pool };
    let pool = service.pool_of_owner(&request, &caller).await?;
    Ok(Json(told::Pool::from(&pool)))
}

/// Has a pool take no new stages and keep what it has, until it is filled.
#[utoipa::path(post, path = "/pools/{pool}/cordon", tag = "pools",
    params(("pool" = String, Path, description = "the pool's name")),
    request_body(content = Option<Word>, description = "who says so, and why; may be left out"),
    responses(
        (status = 200, description = "it is done, durably", body = told::Pool),
        (status = 404, description = "there is no such pool", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn cordon(
    State(service): State<Service>,
    Path(pool): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<told::Pool>, Refused> {
    say(&service, caller, pool, false, &body).await
}

/// Has a pool take no new stages and end the machines that no stage has.
#[utoipa::path(post, path = "/pools/{pool}/drain", tag = "pools",
    params(("pool" = String, Path, description = "the pool's name")),
    request_body(content = Option<Word>, description = "who says so, and why; may be left out"),
    responses(
        (status = 200, description = "it is done, durably; machines end in their time",
         body = told::Pool),
        (status = 404, description = "there is no such pool", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn drain(
    State(service): State<Service>,
    Path(pool): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<told::Pool>, Refused> {
    say(&service, caller, pool, true, &body).await
}

async fn say(
    service: &Service,
    caller: Caller,
    pool: String,
    drains: bool,
    body: &[u8],
) -> Result<Json<told::Pool>, Refused> {
    let Word { by: who, why } = Word::read(body)?;
    let request = v1::CordonRequest {
        pool,
        drains,
        by: who,
        why,
    };
    let pool = service.cordon(by(caller, request)).await?.into_inner();
    Ok(Json(told::Pool::from(&pool)))
}

/// Has a pool take stages again, and fills it now.
#[utoipa::path(post, path = "/pools/{pool}/fill", tag = "pools",
    params(("pool" = String, Path, description = "the pool's name")),
    responses(
        (status = 200, description = "it is done, durably", body = told::Pool),
        (status = 404, description = "there is no such pool", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn fill(
    State(service): State<Service>,
    Path(pool): Path<String>,
    caller: Caller,
) -> Result<Json<told::Pool>, Refused> {
    let request = by(caller, v1::FillRequest { pool });
    let pool = service.fill(request).await?.into_inner();
    Ok(Json(told::Pool::from(&pool)))
}
