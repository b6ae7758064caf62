//! The sockets that requests come by, and the [`connections`] that came.
//!
//! A socket outlives the loop that accepts from it: the loop ends when a
//! runner gives its place up, and begins anew here or in another process. What
//! came meanwhile waits in the kernel.

mod connections;
mod descriptors;
mod places;
mod watched;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(super) use self::connections::{Behind, Connections};
pub(super) use self::descriptors::most_connections;
pub(super) use self::places::Crowded;
use super::args::ServeArgs;

/// After a failure to accept that will not go away at once (no descriptors).
const PAUSE: Duration = Duration::from_millis(100);

const HTTP: &str = "http";
const GRPC: &str = "grpc";
const METRICS: &str = "metrics";
const PEERS: &str = "peers";
const AGENTS: &str = "agents";

/// A socket that listens, and that another process can inherit.
#[derive(Debug)]
pub(super) struct Door {
    listener: StdListener,
    address: SocketAddr,
}

impl Door {
    /// # Errors
    /// The address can't be had.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::of(StdListener::bind(address)?)
    }

    /// One that listens already.
    ///
    /// # Errors
    /// It is no such socket.
    pub(super) fn of(listener: StdListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same socket, to accept from. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn open(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener.try_clone()?)
    }
}

/// The sockets of a runner.
#[derive(Debug)]
pub(super) struct Doors {
    /// Builds.
    pub(super) http: Door,
    /// Tools.
    pub(super) grpc: Door,
    /// Metrics, where they have a socket of their own.
    pub(super) metrics: Option<Door>,
    /// The other runners of the deployment.
    pub(super) peers: Option<Door>,
    /// New machines, which download their agent.
    pub(super) agents: Option<Door>,
}

impl Doors {
    /// The sockets that the options name, some of them perhaps inherited.
    ///
    /// # Errors
    /// An address can't be had.
    pub(super) fn open(
        args: &ServeArgs,
        mut inherited: HashMap<String, StdListener>,
    ) -> anyhow::Result<Self> {
        let mut door = |name: &str, option: &str, address: SocketAddr| match inherited.remove(name)
        {
            Some(listener) => Door::of(listener).context("take over a socket"),
            None => Door::bind(address)
                .with_context(|| format!("listen on {address} ({option} names another address)")),
        };
        Ok(Self {
            http: door(HTTP, "--listen", args.listen)?,
            grpc: door(GRPC, "--grpc-listen", args.grpc_listen)?,
            metrics: args
                .metrics_listen
                .map(|at| door(METRICS, "--metrics-listen", at))
                .transpose()?,
            peers: args
                .peer_listen
                .map(|at| door(PEERS, "--peer-listen", at))
                .transpose()?,
            agents: args
                .agents_listen
                .map(|at| door(AGENTS, "--agents-listen", at))
                .transpose()?,
        })
    }

    /// The sockets as another process inherits them.
    pub(super) fn named(&self) -> Vec<(&'static str, &StdListener)> {
        let always = [(HTTP, Some(&self.http)), (GRPC, Some(&self.grpc))];
        let perhaps = [
            (METRICS, self.metrics.as_ref()),
            (PEERS, self.peers.as_ref()),
            (AGENTS, self.agents.as_ref()),
        ];
        let doors = always.into_iter().chain(perhaps);
        doors
            .filter_map(|(name, door)| Some((name, &door?.listener)))
            .collect()
    }
}

/// The next connection, and where it is from; none when `stop` was cancelled.
pub(super) async fn accepted(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                // Small answers must not wait for anything.
                let _ = stream.set_nodelay(true);
                return Some((stream, from));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}
