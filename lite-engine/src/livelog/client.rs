//! The remote log service, over HTTP.
//!
//! | call | request |
//! |---|---|
//! | open | `POST {url}/stream?accountID=…&key=…` |
//! | write | `PUT {url}/stream?…`, a JSON array of lines |
//! | close | `DELETE {url}/stream?…`, with `&snapshot=true` where the service makes the blob |
//! | blob | `POST {url}/blob/link/upload?…` gives `{"link"}`, `PUT link`; or `POST {url}/blob?…` |
//!
//! Each try has its own body and its own time; what another try may mend (no
//! connection, no answer in time, 408, 429, 5xx) is tried again for so long as
//! [`Pace`] says, anything else is a failure at once. The token goes to the
//! service and never to the host of a link.

use std::error::Error as _;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Line, encode};

/// What stays as it is in a query's value.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Where the service is, and who asks.
#[derive(Clone)]
pub struct ClientConfig {
    /// Its address, `http` or `https`, with or without a path.
    pub url: String,
    /// The account whose logs they are.
    pub account: String,
    /// What proves it: the header `X-Harness-Token`.
    pub token: String,
    /// The blob goes through the service, not by a signed link.
    pub indirect: bool,
    /// How long to try.
    pub pace: Pace,
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One try of a small call.
    pub call: Duration,
    /// One try of the blob.
    pub blob: Duration,
    /// Before the second try; doubled before each further one, up to `wait_max`.
    pub wait: Duration,
    /// Between two tries at most.
    pub wait_max: Duration,
    /// Tries of one call.
    pub tries: usize,
}

impl Default for Pace {
    /// A service that is away for about a minute and a half loses nothing.
    fn default() -> Self {
        Self {
            call: Duration::from_secs(15),
            blob: Duration::from_secs(60),
            wait: Duration::from_millis(100),
            wait_max: Duration::from_secs(10),
            tries: 15,
        }
    }
}

/// Shows no token.
impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig")
            .field("url", &self.url)
            .field("account", &self.account)
            .field("indirect", &self.indirect)
            .finish_non_exhaustive()
    }
}

/// A call to the log service failed for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The system's certificates can't be had.
    #[error("read the system's certificates for the log service")]
    Certificates {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The address, the token or the link can't be part of a request.
    #[error("{call}: the address or the token of the log service is not valid")]
    Request {
        /// What was called.
        call: &'static str,
    },
    /// No answer came.
    #[error("{call}: no answer from the log service: {reason}")]
    NoAnswer {
        /// What was called.
        call: &'static str,
        /// Why; no address, which may be a signed one.
        reason: String,
    },
    /// The service refused.
    #[error("{call}: the log service answered {status}")]
    Refused {
        /// What was called.
        call: &'static str,
        /// Its answer.
        status: StatusCode,
    },
    /// The service gave no link.
    #[error("ask for a link to upload to: the log service's answer has none")]
    NoLink,
}

impl ClientError {
    /// Whether another try may do better.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// Calls the service. A clone shares its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    config: ClientConfig,
}

impl Client {
    /// A client that trusts the system's certificates. Connects to nothing yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|source| ClientError::Certificates { source })?
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .build();
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Self { http, config })
    }

    /// Begins the live stream of this key.
    pub async fn open(&self, key: &str) -> Result<(), ClientError> {
        self.call("open the log's stream", Method::POST, "stream", key, "")
            .await
    }

    /// Appends encoded lines to the live stream.
    pub(super) async fn write(&self, key: &str, lines: &[Bytes]) -> Result<(), ClientError> {
        let body = [&b"["[..], &lines.join(&b","[..]), b"]"].concat();
        let uri = self.uri("stream", key, "");
        let send = Send {
            call: "write to the log's stream",
            method: Method::PUT,
            uri,
            body: body.into(),
            content: "application/json",
            to_service: true,
            within: self.config.pace.call,
        };
        self.send(send).await.map(drop)
    }

    /// Appends lines to the live stream.
    pub async fn append(&self, key: &str, lines: &[Line], trim: bool) -> Result<(), ClientError> {
        let lines = lines.iter().map(|line| encode::remote(line, trim).into());
        self.write(key, &lines.collect::<Vec<_>>()).await
    }

    /// Ends the live stream; with `snapshot` the service makes the blob from it.
    pub async fn close(&self, key: &str, snapshot: bool) -> Result<(), ClientError> {
        let more = if snapshot { "&snapshot=true" } else { "" };
        self.call(
            "close the log's stream",
            Method::DELETE,
            "stream",
            key,
            more,
        )
        .await
    }

    /// Uploads the blob of this key.
    pub async fn upload(&self, key: &str, blob: Bytes) -> Result<(), ClientError> {
        let (method, uri, to_service) = if self.config.indirect {
            (Method::POST, self.uri("blob", key, ""), true)
        } else {
            (Method::PUT, self.link(key).await?, false)
        };
        let send = Send {
            call: "upload the log",
            method,
            uri,
            body: blob,
            content: "application/x-ndjson",
            to_service,
            within: self.config.pace.blob,
        };
        self.send(send).await.map(drop)
    }

    async fn link(&self, key: &str) -> Result<String, ClientError> {
        let send = Send {
            call: "ask for a link to upload to",
            method: Method::POST,
            uri: self.uri("blob/link/upload", key, ""),
            body: Bytes::new(),
            content: "application/json",
            to_service: true,
            within: self.config.pace.call,
        };
        let answer = self.send(send).await?;
        let answer: Link = serde_json::from_slice(&answer).map_err(|_| ClientError::NoLink)?;
        Ok(answer.link)
    }

    async fn call(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        key: &str,
        more: &str,
    ) -> Result<(), ClientError> {
        let send = Send {
            call,
            method,
            uri: self.uri(path, key, more),
            body: Bytes::new(),
            content: "application/json",
            to_service: true,
            within: self.config.pace.call,
        };
        self.send(send).await.map(drop)
    }

    fn uri(&self, path: &str, key: &str, more: &str) -> String {
        let url = self.config.url.trim_end_matches('/');
        let account = utf8_percent_encode(&self.config.account, QUERY);
        let key = utf8_percent_encode(key, QUERY);
        format!("{url}/{path}?accountID={account}&key={key}{more}")
    }

    async fn send(&self, send: Send) -> Result<Bytes, ClientError> {
        let pace = self.config.pace;
        let waits = ExponentialBuilder::new()
            .with_min_delay(pace.wait)
            .with_max_delay(pace.wait_max)
            .with_max_times(pace.tries.saturating_sub(1));
        (|| self.once(&send))
            .retry(waits)
            .when(ClientError::may_pass)
            .await
    }

    /// One try, with a request of its own.
    async fn once(&self, send: &Send) -> Result<Bytes, ClientError> {
        let call = send.call;
        let uri: Uri = send
            .uri
            .parse()
            .map_err(|_| ClientError::Request { call })?;
        let mut request = Request::builder()
            .method(&send.method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, send.content);
        if send.to_service {
            request = request.header("X-Harness-Token", &self.config.token);
        }
        let request = request
            .body(Full::new(send.body.clone()))
            .map_err(|_| ClientError::Request { call })?;
        let no_answer = |reason: String| ClientError::NoAnswer { call, reason };
        let answered = async {
            let answer = self.http.request(request).await;
            let answer = answer.map_err(|error| {
                let cause = error.source().map(ToString::to_string);
                no_answer(cause.unwrap_or_else(|| "the connection failed".to_owned()))
            })?;
            let status = answer.status();
            // Read to its end even where nobody wants it, so that the connection can be used again.
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            if !status.is_success() {
                return Err(ClientError::Refused { call, status });
            }
            let body = body.map_err(|_| no_answer("it broke off, or is too long".to_owned()))?;
            Ok(body.to_bytes())
        };
        tokio::time::timeout(send.within, answered)
            .await
            .unwrap_or_else(|_| Err(no_answer(format!("none within {:?}", send.within))))
    }
}

/// Where a blob may be put.
#[derive(serde::Deserialize)]
struct Link {
    link: String,
}

/// What to send, as often as it takes.
struct Send {
    call: &'static str,
    method: Method,
    uri: String,
    body: Bytes,
    content: &'static str,
    to_service: bool,
    within: Duration,
}
