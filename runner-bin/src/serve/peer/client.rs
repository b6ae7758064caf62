//! Passes requests on, and brings the answers back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use vmpool_agent::Authority;
use vmpool_core::journal::Holder;
use vmpool_proto::peer::v1::peer_client::PeerClient;
use vmpool_proto::peer::v1::{ForwardRequest, ForwardResponse};

use super::MOST_BYTES;
use super::tls::Caller;
use crate::serve::call::Request;
use crate::serve::traces;
use crate::serve::wire::Answer;

/// How often a runner that is silent is asked whether it is there, and how
/// long it may take to say so.
const PING: Duration = Duration::from_secs(5);

/// Why a request was not answered elsewhere. It can be made again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// There is no way to that runner.
    #[error("it has no address for other runners (--peer-url): {url:?}")]
    NoWay { url: String },
    /// It was not reached, or does not have the pool either.
    #[error("it did not take the request: {reason}")]
    Refused { reason: String },
    /// It had the request, and then was gone.
    #[error("it was lost while it had the request: {reason}")]
    Lost { reason: String },
    /// What it said is no answer.
    #[error("its answer has the status {status}")]
    Senseless { status: u32 },
}

/// The way to the deployment's other runners. Connections are kept.
#[derive(Debug)]
pub(crate) struct Peers {
    caller: Caller,
    channels: Mutex<HashMap<Arc<str>, Channel>>,
}

impl Peers {
    pub(crate) fn new(authority: &Arc<Authority>) -> anyhow::Result<Self> {
        Ok(Self {
            caller: Caller::new(authority)?,
            channels: Mutex::default(),
        })
    }

    /// Has `holder` answer the request.
    ///
    /// # Errors
    /// It did not.
    ///
    /// # Cancel safety
    /// What was begun there goes on.
    pub(crate) async fn forward(
        &self,
        holder: &Holder,
        request: &Request,
    ) -> Result<Answer, PeerError> {
        forward(self.channel(&holder.url)?, request).await
    }

    fn channel(&self, url: &Arc<str>) -> Result<Channel, PeerError> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(url) {
            return Ok(channel.clone());
        }
        let no_way = || PeerError::NoWay {
            url: url.to_string(),
        };
        let authority = url.parse::<Uri>().ok();
        let authority = authority.and_then(|uri| uri.authority().cloned());
        let authority = authority.ok_or_else(no_way)?;
        let caller = self.caller.clone();
        let connect = service_fn(move |_: Uri| {
            let (caller, authority) = (caller.clone(), authority.clone());
            async move { caller.call(authority.as_str()).await.map(TokioIo::new) }
        });
        let channel = endpoint().connect_with_connector_lazy(connect);
        channels.insert(Arc::clone(url), channel.clone());
        Ok(channel)
    }
}

/// The process that replaces this one, at the other end of the socket that
/// they have in common.
#[derive(Debug, Clone)]
pub(crate) struct Successor(Channel);

impl Successor {
    /// Speaks over `socket` from now on. A connection that breaks is not made again.
    pub(crate) async fn over(socket: UnixStream) -> Result<Self, tonic::transport::Error> {
        let mut socket = Some(socket);
        let connect = service_fn(move |_: Uri| {
            let socket = socket.take().ok_or(std::io::ErrorKind::NotConnected);
            async move { socket.map(TokioIo::new).map_err(std::io::Error::from) }
        });
        Ok(Self(endpoint().connect_with_connector(connect).await?))
    }

    /// Has it answer the request.
    ///
    /// # Errors
    /// It did not.
    pub(crate) async fn forward(&self, request: &Request) -> Result<Answer, PeerError> {
        forward(self.0.clone(), request).await
    }
}

/// The URI says nothing: who is called is up to the connector.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://runner")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(false)
}

async fn forward(channel: Channel, request: &Request) -> Result<Answer, PeerError> {
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(MOST_BYTES)
        .max_encoding_message_size(MOST_BYTES);
    let message = ForwardRequest {
        path: request.path.clone(),
        query: request.query.clone(),
        body: request.body.to_vec(),
        hops: request.hops + 1,
        caller: request.caller.limited_name(),
    };
    let mut message = tonic::Request::new(message);
    traces::carry(message.metadata_mut());
    let answered = client.forward(message).await.map_err(|status| {
        let reason = status.message().to_owned();
        match status.code() {
            // It said so itself, or was never reached.
            Code::FailedPrecondition | Code::Unavailable => PeerError::Refused { reason },
            _ => PeerError::Lost { reason },
        }
    });
    answer(answered?.into_inner())
}

fn answer(response: ForwardResponse) -> Result<Answer, PeerError> {
    let status = response.status;
    let senseless = || PeerError::Senseless { status };
    Ok(Answer {
        status: u16::try_from(status)
            .ok()
            .and_then(|status| http::StatusCode::from_u16(status).ok())
            .ok_or_else(senseless)?,
        content_type: response.content_type,
        body: response.body.into(),
    })
}
