//! A connection that holds one of the places there are, in the clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

use crate::serve::access::{Entered, Peer, peer_name};

/// Gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    stream: Entered,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    pub(super) fn new(stream: Entered, from: SocketAddr, place: OwnedSemaphorePermit) -> Self {
        let certificate = match &stream {
            Entered::Plain(_) => None,
            Entered::Tls(stream) => peer_name(stream),
        };
        let peer = Peer {
            address: Some(from.ip()),
            certificate,
        };
        Self {
            stream,
            peer,
            _place: place,
        }
    }
}

impl Connected for Guest {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Entered::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Entered::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Entered::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Entered::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Entered::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Entered::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Entered::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Entered::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
