//! `POST /pool_owner`: whether a pool, or a stage in it, is this deployment's.

use std::collections::BTreeMap;

use axum::extract::Query;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use vmpool_core::{PoolName, StageId};

use super::Answer;

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Owned {
    /// Every runner of a deployment answers for all of its pools.
    pub(crate) owner: bool,
}

/// The pool and the stage that a URL's query asks about.
///
/// # Errors
/// It can't be read, or names no pool.
pub(crate) fn pool_owner(query: &str) -> Result<(PoolName, Option<StageId>), Answer> {
    let malformed = |error: String| Answer::malformed(StatusCode::BAD_REQUEST, &error);
    let fields =
        fields(query).ok_or_else(|| malformed("the URL's parameters can't be read".to_owned()))?;
    let field = |name: &str| fields.get(name).filter(|value| !value.is_empty());
    let pool = field("pool")
        .ok_or_else(|| malformed("mandatory URL parameter 'pool' is missing".to_owned()))?;
    let pool = PoolName::parse(pool).map_err(|error| malformed(format!("pool: {error}")))?;
    let stage = field("stageId").map(|id| StageId::parse(id)).transpose();
    let stage = stage.map_err(|error| malformed(format!("stageId: {error}")))?;
    Ok((pool, stage))
}

/// The parameters of a query; of several of one name the last.
pub(crate) fn fields(query: &str) -> Option<BTreeMap<String, String>> {
    let uri: Uri = format!("/?{query}").parse().ok()?;
    let Query(fields) = Query::try_from_uri(&uri).ok()?;
    Some(fields)
}
