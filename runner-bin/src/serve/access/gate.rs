//! What every request passes first: it says who asks, or turns them away.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tower::{Layer, Service};

use super::{Access, NotAdmitted};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<IpAddr>,
    /// The name in the certificate that it has shown.
    pub(crate) certificate: Option<Arc<str>>,
}

/// Puts a [`Gate`] before a service.
#[derive(Debug)]
pub(crate) struct GateLayer<B> {
    access: Access,
    peer: Option<Peer>,
    refuse: fn(NotAdmitted) -> Response<B>,
}

/// Puts the [`Caller`](super::Caller) into each request's extensions.
#[derive(Debug)]
pub(crate) struct Gate<S, B> {
    inner: S,
    of: GateLayer<B>,
}

impl<B> GateLayer<B> {
    /// `refuse` makes the answer to who is turned away. Without a `peer` it is
    /// in the requests' extensions.
    pub(crate) fn new(
        access: Access,
        peer: Option<Peer>,
        refuse: fn(NotAdmitted) -> Response<B>,
    ) -> Self {
        Self {
            access,
            peer,
            refuse,
        }
    }
}

// Derived, it would ask the same of `B`.
impl<B> Clone for GateLayer<B> {
    fn clone(&self) -> Self {
        Self {
            access: self.access.clone(),
            peer: self.peer.clone(),
            refuse: self.refuse,
        }
    }
}

impl<S: Clone, B> Clone for Gate<S, B> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            of: self.of.clone(),
        }
    }
}

impl<S, B> Layer<S> for GateLayer<B> {
    type Service = Gate<S, B>;

    fn layer(&self, inner: S) -> Gate<S, B> {
        Gate {
            inner,
            of: self.clone(),
        }
    }
}

impl<S, Q, B> Service<Request<Q>> for Gate<S, B>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<B>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let unknown = Peer::default();
        let peer = self.of.peer.as_ref();
        let peer = peer.or_else(|| request.extensions().get::<Peer>());
        let admitted = self.of.access.admit(
            peer.unwrap_or(&unknown),
            request.uri().path(),
            request.headers(),
        );
        match admitted {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(refused) => Either::Right(ready(Ok((self.of.refuse)(refused)))),
        }
    }
}
