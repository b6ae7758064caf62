//! Requests between processes, by `vmpool.peer.v1`: to the runner that owns
//! their pool over mutual TLS, and from a process to the one that replaces it
//! over a socket that only these two have.

mod client;
mod server;
mod tls;

pub(super) use client::{Peers, Successor};
pub(super) use server::PeerService;
pub(super) use tls::Doorman;

/// The largest request that is passed on: a body of the largest size and its
/// envelope.
const MOST_BYTES: usize = super::http::MOST_BYTES + (1 << 16);
