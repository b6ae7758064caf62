//! The incumbent's eight routes over HTTP: which request goes where, and in
//! what shape its answer comes.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vmpool_proto::incumbent::{
    DestroyRequest, Failure, Health, MintFailure, MintRequest, SuspendRequest, decode, encode,
};

use super::body::{self, LARGE, SMALL};
use super::connectivity;
use super::desk::Desk;
use super::refused::Refused;

/// An answer's body.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// That nobody keeps an answer for later.
const UNCACHED: [(&str, &str); 4] = [
    ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("cache-control", "no-cache, private, max-age=0"),
    ("pragma", "no-cache"),
    ("x-accel-expires", "0"),
];

/// Where a desk is found for a request.
pub(super) trait Desks: Send + Sync {
    /// The desk. `begins`: the request makes the machine a stage's.
    ///
    /// # Errors
    /// There is none for this request.
    fn desk(&self, begins: bool) -> Result<Desk, Refused>;

    /// What `/healthz` connects to when it is asked whether there is a network.
    fn connectivity(&self) -> &str;
}

impl Desks for Desk {
    fn desk(&self, _: bool) -> Result<Desk, Refused> {
        Ok(self.clone())
    }

    fn connectivity(&self) -> &str {
        Desk::connectivity(self)
    }
}

/// Answers one request. Never fails: whatever is wrong is an answer.
pub(super) async fn answer<D, B>(
    desks: &D,
    request: Request<B>,
) -> Result<Response<AnswerBody>, Infallible>
where
    D: Desks,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Some(route) = Route::of(path.strip_suffix('/').unwrap_or(path)) else {
        return Ok(not_found());
    };
    if head.method != route.method() {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let query = head.uri.query().unwrap_or_default();
    let answered = match body::take(&head.headers, body, route.limit()).await {
        Ok(body) => route.answer(desks, query, &body).await,
        Err(refused) => Err(refused),
    };
    Ok(answered.unwrap_or_else(|Refused { status, message }| {
        if status.is_server_error() {
            tracing::warn!(path, %status, message, "a request failed");
        } else {
            tracing::info!(path, %status, message, "refused a request");
        }
        json(status, &Failure { error_msg: message })
    }))
}

/// Answers what steps may ask for themselves.
pub(super) async fn answer_step<B>(
    desk: &Desk,
    request: Request<B>,
) -> Result<Response<AnswerBody>, Infallible>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match request.uri().path() {
        "/mint_workload_token" => answer(desk, request).await,
        _ => Ok(not_found()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Health,
    Setup,
    StartStep,
    PollStep,
    StreamOutput,
    Suspend,
    Destroy,
    Mint,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Health,
            "/setup" => Self::Setup,
            "/start_step" => Self::StartStep,
            "/poll_step" => Self::PollStep,
            "/stream_output" => Self::StreamOutput,
            "/suspend" => Self::Suspend,
            "/destroy" => Self::Destroy,
            "/mint_workload_token" => Self::Mint,
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            Self::Health => Method::GET,
            _ => Method::POST,
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Setup | Self::StartStep => LARGE,
            _ => SMALL,
        }
    }

    /// Only these make a machine a stage's.
    fn begins(self) -> bool {
        matches!(self, Self::Setup | Self::StartStep)
    }

    async fn answer<D: Desks>(
        self,
        desks: &D,
        query: &str,
        body: &[u8],
    ) -> Result<Response<AnswerBody>, Refused> {
        if self == Self::Health {
            return health(desks.connectivity(), query).await;
        }
        let done = Ok(json(StatusCode::OK, &serde_json::Map::new()));
        let desk = desks.desk(self.begins())?;
        match self {
            Self::Health => done,
            Self::Setup => {
                desk.set_up(read(body)?).await?;
                done
            }
            Self::StartStep => {
                desk.start(read(body)?)?;
                done
            }
            Self::PollStep => Ok(json(StatusCode::OK, &desk.poll(read(body)?).await?)),
            Self::StreamOutput => Ok(stream(desk.stream(read(body)?).await?)),
            Self::Suspend => {
                // There are no containers whose labels could match.
                let _: SuspendRequest = read(body)?;
                done
            }
            Self::Destroy => {
                let _: DestroyRequest = read(body)?;
                Ok(json(StatusCode::OK, &desk.destroy().await?))
            }
            Self::Mint => {
                let request: MintRequest = read(body)?;
                Ok(match desk.identities().mint(&request).await {
                    Ok(token) => json(StatusCode::OK, &token),
                    Err(refused) => {
                        let error = refused.message().to_owned();
                        json(refused.status(), &MintFailure { error })
                    }
                })
            }
        }
    }
}

async fn health(address: &str, query: &str) -> Result<Response<AnswerBody>, Refused> {
    if let Some(lasts) = connectivity::wanted(query) {
        let checked = connectivity::check(address, lasts).await;
        checked.map_err(Refused::failed)?;
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(json(StatusCode::OK, &Health { version, ok: true }))
}

fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    decode(body).map_err(|error| Refused::bad(error.to_string()))
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response<AnswerBody> {
    let mut response = Response::new(whole(encode(answer)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    for (name, value) in UNCACHED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn stream(output: super::stream::Output) -> Response<AnswerBody> {
    let frames = output.into_stream().map_ok(Frame::data).map_err(Into::into);
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn not_found() -> Response<AnswerBody> {
    let mut response = Response::new(whole("404 page not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn empty(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn whole(body: impl Into<Bytes>) -> AnswerBody {
    let body: Full<Bytes> = Full::new(body.into());
    body.map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
