//! Answers requests that other processes pass on.

use tonic::service::Routes;
use tonic::{Request, Response, Status};
use vmpool_proto::peer::v1::peer_server::{Peer, PeerServer};
use vmpool_proto::peer::v1::{ForwardRequest, ForwardResponse};

use super::MOST_BYTES;
use crate::serve::access::Caller;
use crate::serve::call;
use crate::serve::desk::Desk;
use crate::serve::traces::CallerLayer;

/// The service, for one desk.
#[derive(Debug, Clone)]
pub(crate) struct PeerService {
    desk: Desk,
    /// The other end is the process that this one replaces: its callers are ours.
    replaces: bool,
}

impl PeerService {
    /// For the deployment's other runners.
    pub(crate) fn for_runners(desk: Desk) -> axum::Router {
        Self {
            desk,
            replaces: false,
        }
        .routes()
    }

    /// For the process that this one replaces.
    pub(crate) fn for_predecessor(desk: Desk) -> axum::Router {
        Self {
            desk,
            replaces: true,
        }
        .routes()
    }

    fn routes(self) -> axum::Router {
        let service = PeerServer::new(self)
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_BYTES);
        let routes = Routes::new(service).into_axum_router();
        routes.layer(CallerLayer)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let message = request.into_inner();
        let request = call::Request {
            path: message.path,
            query: message.query,
            body: message.body.into(),
            hops: message.hops,
            // The process that admitted the caller of another has seen to its
            // limits; that of a predecessor is ours, and so are its limits.
            caller: match message.caller.as_str() {
                name if self.replaces && !name.is_empty() => {
                    let known = self.desk.access().again(name);
                    known.unwrap_or_else(Caller::nobody)
                }
                _ => Caller::anonymous(),
            },
        };
        let answer = if self.replaces {
            self.desk.answer(request).await
        } else {
            let answered = self.desk.answer_peer(request).await;
            answered.map_err(|error| Status::failed_precondition(error.to_string()))?
        };
        Ok(Response::new(ForwardResponse {
            status: answer.status.as_u16().into(),
            content_type: answer.content_type,
            body: answer.body.to_vec(),
        }))
    }
}
