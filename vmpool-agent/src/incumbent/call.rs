//! One request of the incumbent's protocol, within a time, and its answer,
//! within a size. Nothing is tried again here.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tonic::body::Body;
use tower::{Service, ServiceExt};
use vmpool_proto::incumbent::{Failure, decode};

use crate::connection::{Http2, MAX_ANSWER};
use crate::dial::plain;
use crate::reason;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The agent's own answer.
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String },
    /// The connection broke before the answer, or with it.
    #[error("{0}")]
    Broken(String),
    #[error("no answer in {}", plain(*.0))]
    Slow(Duration),
    /// Not what was to be answered.
    #[error("can't read the answer: {0}")]
    Garbled(String),
}

/// What is answered where there is nothing to say.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Nothing {}

/// The body of an answer, as it comes.
pub(crate) type Answer = <Http2 as Service<Request<Body>>>::Response;

/// Sends requests over one connection, for as long as that is open. It does
/// not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(crate) http: Http2,
    /// How their addresses begin.
    pub(crate) origin: Uri,
}

impl Requests {
    /// Asks for what has no body.
    pub(crate) async fn get<A: DeserializeOwned + Default>(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<A, CallError> {
        self.within(limit, Method::GET, path, Bytes::new()).await
    }

    /// Asks with `body`, which is JSON.
    pub(crate) async fn post<A: DeserializeOwned + Default>(
        &self,
        path: &str,
        body: &[u8],
        limit: Duration,
    ) -> Result<A, CallError> {
        let body = Bytes::copy_from_slice(body);
        self.within(limit, Method::POST, path, body).await
    }

    /// Asks with `body`, which is JSON, for an answer that comes bit by bit,
    /// whenever it begins.
    pub(crate) async fn open(&self, path: &str, body: &[u8]) -> Result<Answer, CallError> {
        let body = Bytes::copy_from_slice(body);
        let answer = self.send(Method::POST, path, body).await?;
        if answer.status() == StatusCode::OK {
            Ok(answer)
        } else {
            Err(refused(answer).await)
        }
    }

    async fn within<A: DeserializeOwned + Default>(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, CallError> {
        let answered = timeout(limit, async {
            let answer = self.send(method, path, body).await?;
            if answer.status() == StatusCode::OK {
                whole(answer).await
            } else {
                Err(refused(answer).await)
            }
        });
        let body = answered.await.unwrap_or(Err(CallError::Slow(limit)))?;
        decode(&body).map_err(|error| CallError::Garbled(error.to_string()))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, CallError> {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = Some(path.parse().expect("the routes are paths"));
        let mut request = Request::new(Body::new(Full::new(body)));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts).expect("an origin and a path");
        let kind = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        let broken = |error: hyper::Error| CallError::Broken(reason::chain(&error));
        let mut http = self.http.clone();
        let ready = http.ready().await.map_err(broken)?;
        ready.call(request).await.map_err(broken)
    }
}

/// The agent's reason, as far as it gives one.
async fn refused(answer: Answer) -> CallError {
    let status = answer.status();
    match whole(answer).await {
        Ok(body) => CallError::Refused {
            status,
            message: decode::<Failure>(&body).unwrap_or_default().error_msg,
        },
        Err(error) => error,
    }
}

async fn whole(
    answer: Response<impl hyper::body::Body<Data = Bytes, Error = hyper::Error>>,
) -> Result<Bytes, CallError> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::Garbled(format!(
            "it is larger than {MAX_ANSWER} bytes"
        ))),
        Err(error) => {
            let error: &(dyn Error + 'static) = &*error;
            Err(CallError::Broken(reason::chain(error)))
        }
    }
}
