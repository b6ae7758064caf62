//! What every request passes first: it says who asks.

use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::caller::Caller;

/// Puts a [`Gate`] before a service.
#[derive(Debug, Clone)]
pub(crate) struct GateLayer;

/// Puts the [`Caller`] into each request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    inner: S,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Gate<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(Caller::anonymous());
        self.inner.call(request)
    }
}
