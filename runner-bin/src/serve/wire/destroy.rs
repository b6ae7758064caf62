//! `POST /destroy`: the end of a stage.

use serde::Deserialize;
use utoipa::ToSchema;
use vmpool_core::StageId;

use super::Answer;
use super::decode::decode;

/// What is read of the body; the rest says nothing that the stage's id does not.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default)]
pub(crate) struct DestroyVm {
    id: String,
}

impl DestroyVm {
    /// The stage that is to end.
    ///
    /// # Errors
    /// The body is no such request, or names no stage.
    pub(crate) fn read(body: &[u8]) -> Result<StageId, Answer> {
        let request: Self = decode(body)?;
        if request.id.is_empty() {
            return Err(Answer::bad_request(
                "mandatory field 'stage_runtime_id' in the request body is empty",
            ));
        }
        StageId::parse(&request.id).map_err(|error| Answer::bad_request(&format!("id: {error}")))
    }
}
