//! Says of a connection's requests when they are complete, and when they are
//! answered: that is what its place depends on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Service, ServiceExt as _};

use super::places::Seat;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body as it comes.
#[derive(Debug)]
pub(super) struct Coming<B> {
    body: B,
    seat: Arc<Seat>,
}

/// An answer's body. When it is dropped, the request is answered.
#[derive(Debug)]
pub(super) struct Going<B> {
    body: B,
    _answering: Answering,
}

#[derive(Debug)]
struct Answering(Arc<Seat>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.is_silent();
    }
}

/// Has `service` answer one request of the connection that has this seat.
///
/// # Cancel safety
/// As the service's call.
pub(super) async fn watched<S, Q, B>(
    service: S,
    seat: Arc<Seat>,
    request: Request<Q>,
) -> Result<Response<Going<B>>, S::Error>
where
    S: Service<Request<Coming<Q>>, Response = Response<B>>,
    Q: Body,
{
    seat.is_silent();
    let answering = Answering(Arc::clone(&seat));
    let request = request.map(|body| Coming::new(body, seat));
    let response = service.oneshot(request).await?;
    Ok(response.map(|body| Going {
        body,
        _answering: answering,
    }))
}

impl<B: Body> Coming<B> {
    fn new(body: B, seat: Arc<Seat>) -> Self {
        if body.is_end_stream() {
            seat.is_asking();
        }
        Self { body, seat }
    }
}

impl<B> Body for Coming<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.seat.is_asking();
        }
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            let bytes = frame.data_ref().map_or(0, bytes::Buf::remaining);
            self.seat.came(bytes)?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body + Unpin> Body for Going<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
