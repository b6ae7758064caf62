//! `vmpool.v1` over gRPC: [builds], and what people and programs ask a runner;
//! beside them health and reflection.
//!
//! Limits: [`MOST_GUESTS`] connections, who comes beyond them waits in the
//! kernel; [`MOST_CALLS`] calls at a time on each; requests of [`MOST_BYTES`], of
//! builds [`MOST_SETUP`];
//! a guest that is silent and does not answer a ping is sent away.
//!
//! When the runner hands over or stops, streams end with UNAVAILABLE, which
//! tells their callers to connect anew.

mod builds;
mod guest;
mod health;
mod ledger;
mod reflection;
mod service;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use vmpool_proto::v1::builds_server::BuildsServer;
use vmpool_proto::v1::runner_server::RunnerServer;

pub(super) use self::builds::{Ask, Builds};
use self::guest::Guest;
use self::health::health;
pub(super) use self::service::Service;
use super::access::GateLayer;
use super::desk::Desk;
use super::doors::accepted;
use super::http;
use super::logs::FileLogs;

const MOST_GUESTS: usize = 256;

/// A CI system has a call open for each step that runs, and must get through
/// beside them to cancel one.
const MOST_CALLS: u32 = 1024;

/// The largest request: an id and a name.
const MOST_BYTES: usize = 64 << 10;

/// The largest request of a build: a setup with its files.
const MOST_SETUP: usize = http::MOST_BYTES;

/// The largest answer: the status of tens of thousands of machines.
const MOST_ANSWERED: usize = 64 << 20;

/// How often a guest that is silent is asked whether it is there, and how long
/// it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// How long the last answers may take to be sent when the runner is left.
const CLOSING: Duration = Duration::from_secs(1);

/// What serves tools during a shift.
#[derive(Debug)]
pub(super) struct Tools {
    service: Service,
    builds: Builds,
    tasks: TaskTracker,
}

impl Tools {
    pub(super) fn new(service: Service, desk: Desk, logs: FileLogs) -> Self {
        let tasks = TaskTracker::new();
        let builds = Builds {
            desk,
            logs,
            leaving: service.leaving.clone(),
            tasks: tasks.clone(),
        };
        Self {
            service,
            builds,
            tasks,
        }
    }

    /// Serves whoever comes by `listener`, until the runner is left.
    pub(super) fn open(&self, listener: TcpListener) {
        if let Ok(listens) = listener.local_addr()
            && !listens.ip().is_loopback()
        {
            tracing::warn!(%listens, "whoever reaches this socket may ask for everything, and sweep");
        }
        let service = RunnerServer::new(self.service.clone())
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_ANSWERED);
        let builds = BuildsServer::new(self.builds.clone()).max_decoding_message_size(MOST_SETUP);
        let server = Server::builder()
            .max_concurrent_streams(MOST_CALLS)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING))
            .layer(GateLayer)
            .add_service(service)
            .add_service(builds)
            .add_service(health(&self.builds, &self.tasks))
            .add_service(reflection::v1())
            .add_service(reflection::v1alpha());
        let left = self.service.leaving.clone();
        let guests = guests(listener, left.clone());
        self.tasks.spawn(async move {
            let served = server.serve_with_incoming_shutdown(guests, left.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "tools are not served any more");
            }
        });
    }

    /// Waits shortly until the last answers are sent. The runner must be left.
    ///
    /// # Cancel safety
    /// Safe: what is under way ends by itself.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        let _ = timeout(CLOSING, self.tasks.wait()).await;
    }
}

/// Whoever comes, while there is a place.
fn guests(
    listener: TcpListener,
    left: CancellationToken,
) -> impl Stream<Item = io::Result<Guest>> + Send {
    let places = Arc::new(Semaphore::new(MOST_GUESTS));
    stream::unfold(
        (listener, places, left),
        async |(listener, places, left)| {
            let place = tokio::select! {
                () = left.cancelled() => return None,
                place = Arc::clone(&places).acquire_owned() => place.ok()?,
            };
            let stream = accepted(&listener, &left).await?;
            Some((Ok(Guest::new(stream, place)), (listener, places, left)))
        },
    )
}

/// The URL at which tools of this host reach a socket that listens there.
pub(super) fn url(listens: SocketAddr) -> String {
    let ip = match listens.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(ip, listens.port()))
}
