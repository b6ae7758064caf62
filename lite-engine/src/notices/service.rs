//! EC2's instance metadata service, asked by its second version: a token first,
//! which every question shows, and which is got again when it is refused.

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ReadError;
use crate::compat::send;

/// Where tests and other tools of AWS look for another endpoint.
const VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const USUAL: &str = "http://169.254.169.254";

const TOKEN: &str = "/latest/api/token";
const TOKEN_LASTS: HeaderValue = HeaderValue::from_static("21600");
/// Longest token; they have 56 characters.
const TOKEN_MAX: usize = 1024;

/// For one question and its answer. The service is on the machine's own host.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a metadata service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// Before every path; without a slash at its end.
    prefix: String,
}

/// Not the address of a metadata service.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no endpoint of a metadata service: {reason}")]
pub struct BadEndpoint {
    text: String,
    reason: &'static str,
}

impl Endpoint {
    /// EC2's, or the one that `AWS_EC2_METADATA_SERVICE_ENDPOINT` names.
    ///
    /// # Errors
    /// It names none.
    pub fn from_env() -> Result<Self, BadEndpoint> {
        match env::var(VARIABLE) {
            Ok(text) => text.parse(),
            Err(VarError::NotPresent) => USUAL.parse(),
            Err(VarError::NotUnicode(text)) => Err(BadEndpoint {
                text: text.to_string_lossy().into_owned(),
                reason: "it is not text",
            }),
        }
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let wrong = |reason| BadEndpoint {
            text: text.to_owned(),
            reason,
        };
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it must begin with http://"));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        Ok(Self {
            host: host.ok_or_else(|| wrong("it names no host"))?.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.prefix)
    }
}

/// A question that was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{path}: no answer in {PATIENCE:?}")]
    Slow { path: &'static str },
    #[error("{path}: {reason}")]
    Failed { path: &'static str, reason: String },
    #[error("{path}: it answers {status}")]
    Status {
        path: &'static str,
        status: StatusCode,
    },
    #[error("{TOKEN}: it is no token")]
    NoToken,
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

/// The service, with the token that it gave.
pub(super) struct Service {
    endpoint: Endpoint,
    token: Option<HeaderValue>,
}

impl Service {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            token: None,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it says at `path`; nothing, where there is nothing to say.
    pub(super) async fn get(&mut self, path: &'static str) -> Result<Option<Bytes>, AskError> {
        let mut renewed = self.token.is_none();
        loop {
            let token = match &self.token {
                Some(token) => token.clone(),
                None => self.token.insert(self.new_token().await?).clone(),
            };
            let header = ("x-aws-ec2-metadata-token", token);
            let answer = self.ask(Method::GET, path, header).await?;
            match answer.status() {
                StatusCode::OK => return Ok(Some(answer.into_body())),
                StatusCode::NOT_FOUND => return Ok(None),
                // It is over, or the service has begun anew.
                StatusCode::UNAUTHORIZED if !renewed => {
                    self.token = None;
                    renewed = true;
                }
                status => {
                    self.token = None;
                    return Err(AskError::Status { path, status });
                }
            }
        }
    }

    async fn new_token(&self) -> Result<HeaderValue, AskError> {
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_LASTS);
        let answer = self.ask(Method::PUT, TOKEN, header).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status {
                path: TOKEN,
                status: answer.status(),
            });
        }
        let text = answer.into_body();
        let text = text.trim_ascii();
        if text.is_empty() || text.len() > TOKEN_MAX {
            return Err(AskError::NoToken);
        }
        let mut token = HeaderValue::from_bytes(text).map_err(|_| AskError::NoToken)?;
        token.set_sensitive(true);
        Ok(token)
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
        header: (&'static str, HeaderValue),
    ) -> Result<Response<Bytes>, AskError> {
        let Endpoint { host, port, prefix } = &self.endpoint;
        let failed = |reason: String| AskError::Failed { path, reason };
        let question = Request::builder()
            .method(method)
            .uri(format!("{prefix}{path}"))
            .header(HOST, format!("{host}:{port}"))
            .header(header.0, header.1)
            .body(Full::new(Bytes::new()))
            .map_err(|error| failed(error.to_string()))?;
        let asked = async {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, *port)).await;
            let stream = stream.map_err(|error| failed(error.to_string()))?;
            send(stream, question).await.map_err(failed)
        };
        timeout(PATIENCE, asked)
            .await
            .map_err(|_| AskError::Slow { path })?
    }
}
