//! `vmpool.v1` over gRPC: [builds], and what people and programs ask a runner;
//! beside them health and reflection. Who may ask is told by
//! [`access`](super::access).
//!
//! Limits: [`MOST_GUESTS`] connections, who comes beyond them waits in the
//! kernel; who says nothing within [`FIRST_WORD`] leaves; [`MOST_CALLS`] calls at
//! a time on each; requests of [`MOST_BYTES`], of builds [`MOST_SETUP`];
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
mod visible;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use vmpool_agent::Agents;
use vmpool_proto::v1::builds_server::BuildsServer;
use vmpool_proto::v1::runner_server::RunnerServer;

pub(super) use self::builds::{Ask, Builds, withdrawal};
use self::guest::Guest;
use self::health::health;
pub(super) use self::service::{Service, moved};
pub(super) use self::visible::{READING, silent_journal};
use super::access::{Access, Caller, DoorKind, GateLayer, over_grpc};
use super::desk::Desk;
use super::doors::accepted;
use super::http;
use super::logs::FileLogs;
use super::metrics::CountLayer;
use super::traces::CallerLayer;

const MOST_GUESTS: usize = 1024;

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

/// How long a guest may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Guests that were let in and are not yet served.
const ENTERED: usize = 16;

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
    pub(super) fn new(service: Service, desk: Desk, logs: FileLogs, agents: Agents) -> Self {
        let tasks = TaskTracker::new();
        let builds = Builds {
            desk,
            logs,
            agents,
            leaving: service.leaving.clone(),
            tasks: tasks.clone(),
            caller: Caller::nobody(),
        };
        Self {
            service,
            builds,
            tasks,
        }
    }

    /// What answers them.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Serves whoever comes by `listener`, until the runner is left.
    pub(super) fn open(&self, listener: TcpListener, access: &Access) {
        let service = RunnerServer::new(self.service.clone())
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_ANSWERED);
        let builds = BuildsServer::new(self.builds.clone()).max_decoding_message_size(MOST_SETUP);
        let server = Server::builder()
            .max_concurrent_streams(MOST_CALLS)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING))
            .layer(CountLayer::Grpc)
            .layer(CallerLayer)
            .layer(GateLayer::new(access.clone(), None, over_grpc))
            .add_service(service)
            .add_service(builds)
            .add_service(health(&self.builds, &self.tasks))
            .add_service(reflection::v1())
            .add_service(reflection::v1alpha());
        let left = self.service.leaving.clone();
        let guests = self.guests(listener, access.clone(), left.clone());
        self.tasks.spawn(async move {
            let served = server.serve_with_incoming_shutdown(guests, left.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "tools are not served any more");
            }
        });
    }

    /// Whoever comes, while there is a place. One that takes long to enter keeps
    /// nobody else waiting.
    fn guests(
        &self,
        listener: TcpListener,
        access: Access,
        left: CancellationToken,
    ) -> impl Stream<Item = io::Result<Guest>> + Send + use<> {
        let places = Arc::new(Semaphore::new(MOST_GUESTS));
        let (entered, guests) = mpsc::channel(ENTERED);
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            loop {
                let place = tokio::select! {
                    () = left.cancelled() => return,
                    place = Arc::clone(&places).acquire_owned() => place,
                };
                let place = place.expect("the semaphore is never closed");
                let Some((stream, from)) = accepted(&listener, &left).await else {
                    return;
                };
                let (access, entered, left) = (access.clone(), entered.clone(), left.clone());
                tasks.spawn(async move {
                    let entering = async {
                        timeout(FIRST_WORD, stream.readable()).await??;
                        access.handshake(stream, DoorKind::Tools).await
                    };
                    tokio::select! {
                        () = left.cancelled() => {}
                        stream = entering => match stream {
                            Ok(stream) => {
                                // Nobody takes it only when the runner is left.
                                let _ = entered.send(Guest::new(stream, from, place)).await;
                            }
                            Err(error) => tracing::debug!(%error, %from, "no handshake"),
                        }
                    }
                });
            }
        });
        stream::unfold(guests, async |mut guests| {
            let guest = guests.recv().await?;
            Some((Ok(guest), guests))
        })
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

/// The URL at which tools of this host reach a socket that listens there.
pub(super) fn url(listens: SocketAddr, access: &Access) -> String {
    let ip = match listens.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let scheme = if access.speaks_tls() { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listens.port()))
}
