//! Takes a request's body: within a size, and within a time.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::refused::Refused;

/// Largest body that names a step, or next to nothing.
pub(super) const SMALL: usize = 64 * 1024;

/// Largest body of a setup or a step: their files are in it.
pub(super) const LARGE: usize = 16 * 1024 * 1024;

/// For a whole body to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many large bodies are taken at a time; further ones wait for their turn.
/// What is small so far waits for nobody.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Reads the body to its end.
///
/// # Errors
/// It is too large, takes too long, or breaks off.
pub(super) async fn take<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let taken = async {
        let mut body = pin!(body);
        let mut taken = Vec::new();
        let mut turn = None;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Refused::bad(format!("read the body: {}", error.into())))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if taken.len() + data.len() > limit {
                return Err(too_large());
            }
            if turn.is_none() && taken.len() + data.len() > SMALL {
                turn = TURNS.acquire().await.ok();
            }
            taken.extend_from_slice(&data);
        }
        Ok(taken.into())
    };
    timeout(PATIENCE, taken).await.unwrap_or_else(|_| {
        let message = "the body takes too long";
        Err(Refused::new(StatusCode::REQUEST_TIMEOUT, message))
    })
}
