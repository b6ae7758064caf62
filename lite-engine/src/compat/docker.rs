//! Whether there is a container engine.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::outbound;

/// How long an engine may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the engine at this address, in the form of `DOCKER_HOST`.
///
/// # Errors
/// Nobody answers, in the words that people look for.
pub(super) async fn reach(address: &str) -> Result<(), String> {
    let reason = match timeout(PATIENCE, ping(address)).await {
        Ok(Ok(answer)) if answer.status() == StatusCode::OK => return Ok(()),
        Ok(Ok(answer)) => format!("it answers with status {}", answer.status()),
        Ok(Err(reason)) => reason,
        Err(_) => "it does not answer".into(),
    };
    Err(format!(
        "Cannot connect to the Docker daemon at {address}. Is the docker daemon running? {reason}"
    ))
}

async fn ping(address: &str) -> Result<Response<Bytes>, String> {
    let request = Request::get("/_ping").header("host", "docker");
    let request = request
        .body(Full::default())
        .map_err(|error| error.to_string())?;
    if let Some(path) = address.strip_prefix("unix://") {
        let stream = UnixStream::connect(path).await;
        outbound::send(stream.map_err(|error| error.to_string())?, request).await
    } else {
        let stream = TcpStream::connect(address.trim_start_matches("tcp://")).await;
        outbound::send(stream.map_err(|error| error.to_string())?, request).await
    }
}
