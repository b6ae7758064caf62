//! An open connection to an agent, and the task that keeps it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vmpool_core::StageId;
use vmpool_proto::agent::v1::agent_client::AgentClient;

use super::renewal::Renewal;
use super::slot::Slot;
use super::watch;
use crate::config::LinkConfig;
use crate::connection::{self, Http2, Http2Error, MAX_ANSWER, MAX_REQUEST, Tasks};
use crate::dial::Dialled;
use crate::incumbent::Requests;
use crate::reason;

/// An open connection. It closes when the last holder drops it.
#[derive(Debug)]
pub(crate) struct Kept {
    http: Http2,
    origin: Uri,
    protocol: Protocol,
    tasks: Tasks,
    /// By the incumbent's protocol: the stage that the agent was seen to have.
    stage: OnceLock<StageId>,
    end: Arc<End>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// What an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// vmpool's own.
    Vmpool,
    /// The incumbent's JSON.
    Incumbent,
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is still open.
    Open,
    /// It broke, or the agent closed it.
    Lost,
    /// This runner has given the machine up.
    ClosedHere,
}

/// How a connection ended, once it has.
#[derive(Debug, Default)]
pub(crate) struct End {
    reason: OnceLock<String>,
    over: CancellationToken,
}

impl End {
    pub(super) fn set(&self, reason: String) {
        // The first reason is the true one.
        let _ = self.reason.set(reason);
        self.over.cancel();
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

impl Kept {
    /// Makes a connection out of a TLS stream. Its tasks end with it. Without
    /// a `renewal` the machine's certificate is left as it is.
    pub(super) async fn start(
        dialled: Dialled,
        protocol: Protocol,
        origin: Uri,
        slot: &Arc<Slot>,
        tracker: &TaskTracker,
        config: &LinkConfig,
        renewal: Option<Renewal>,
    ) -> Result<Arc<Self>, Http2Error> {
        let stop = slot.closing().child_token();
        let tasks = Tasks::new(tracker, stop.clone());
        let stop_on_drop = stop.clone().drop_guard();
        let heard = Heard {
            io: dialled.stream,
            slot: Arc::clone(slot),
            last: Instant::now(),
        };
        let (http, connection) = connection::start(heard, &tasks, config).await?;
        let end = Arc::new(End::default());
        let kept = Arc::new(Self {
            http,
            origin,
            protocol,
            tasks: tasks.clone(),
            stage: OnceLock::new(),
            end: Arc::clone(&end),
            stop,
            _stop_on_drop: stop_on_drop,
        });
        let agent = kept.agent();
        let renewal = async move {
            match renewal {
                Some(renewal) => renewal.keep(agent).await,
                None => std::future::pending().await,
            }
        };
        let watched = (protocol == Protocol::Vmpool).then(|| kept.agent());
        let slot = Arc::clone(slot);
        tasks.spawn(async move {
            let notices = async {
                match watched {
                    Some(agent) => watch::keep(agent, &slot).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = connection => ended,
                never = renewal => match never {},
                never = notices => match never {},
            };
            let reason = match ended {
                Ok(()) => "the agent closed the connection".to_owned(),
                Err(error) => reason::chain(&error),
            };
            slot.lost(&end, reason);
        });
        Ok(kept)
    }

    /// A client for calls over this connection.
    pub(crate) fn agent(&self) -> AgentClient<Http2> {
        AgentClient::with_origin(self.http.clone(), self.origin.clone())
            .max_decoding_message_size(MAX_ANSWER)
            .max_encoding_message_size(MAX_REQUEST)
    }

    /// What its agent speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What sends requests of the incumbent's protocol.
    pub(crate) fn requests(&self) -> Requests {
        Requests {
            http: self.http.clone(),
            origin: self.origin.clone(),
        }
    }

    /// Tasks that end with the connection.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// See [`crate::incumbent`]: the agent at the other end has this stage.
    pub(crate) fn has_stage(&self, stage: &StageId) -> bool {
        self.stage.get() == Some(stage)
    }

    pub(crate) fn set_stage(&self, stage: &StageId) {
        // A machine has one stage; the connection ends before its agent does.
        let _ = self.stage.set(stage.clone());
    }

    pub(super) fn is_open(&self) -> bool {
        self.end.reason().is_none() && !self.http.is_closed()
    }

    pub(crate) fn end(&self) -> &Arc<End> {
        &self.end
    }

    /// Gives the connection a moment to end, and says what has become of it.
    pub(crate) async fn fate(&self, within: Duration) -> Fate {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Fate::ClosedHere,
            () = self.end.over.cancelled() => Fate::Lost,
            () = sleep(within) => Fate::Open,
        }
    }
}

/// Notes that the agent said something: an answer, output, or a ping's echo.
struct Heard<I> {
    io: I,
    slot: Arc<Slot>,
    last: Instant,
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, slot, last } = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            slot.heard(last);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
