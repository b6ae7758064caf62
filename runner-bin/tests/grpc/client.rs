//! Calls of the API, and what came of them.

use std::path::Path;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use vmpool_proto::v1::acquire_progress::Progress;
use vmpool_proto::v1::builds_client::BuildsClient;
use vmpool_proto::v1::run_event::Event;
use vmpool_proto::v1::runner_client::RunnerClient;
use vmpool_proto::v1::{
    AcquireProgress, AcquireRequest, Lease, ReleaseRequest, RunEvent, RunRequest, StatusRequest,
    StepResult,
};

use crate::support::{Serving, Site, wait_for};

/// A runner that is ready, and speaks gRPC at this port.
pub(crate) async fn serve(site: &Site, program: &Path, grpc: u16) -> Serving {
    let mut command = site.command_at(program, "state", site.port, grpc);
    site.ready(&mut command).await
}

/// Where the runner of this state directory speaks gRPC.
pub(crate) fn url(site: &Site, state: &str) -> String {
    let path = site.path().join(state).join("grpc-url");
    let url = std::fs::read_to_string(path).expect("the runner has said where it is");
    url.trim().to_owned()
}

pub(crate) fn channel(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    endpoint.connect_lazy()
}

/// The API of the site's only runner.
pub(crate) fn builds(site: &Site) -> BuildsClient<Channel> {
    BuildsClient::new(channel(&url(site, "state")))
}

pub(crate) fn acquire(stage: &str) -> AcquireRequest {
    AcquireRequest {
        stage_id: stage.to_owned(),
        pool: "linux".to_owned(),
        ..AcquireRequest::default()
    }
}

pub(crate) fn run(stage: &str, step: &str, script: &str) -> RunRequest {
    RunRequest {
        stage_id: stage.to_owned(),
        step_id: step.to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..RunRequest::default()
    }
}

pub(crate) fn release(stage: &str) -> ReleaseRequest {
    ReleaseRequest {
        stage_id: stage.to_owned(),
    }
}

/// Why it was refused, in the API's own words.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("it has no reason: {status:?}"));
    assert_eq!(info.domain, "vmpool", "{status:?}");
    info.reason
}

/// The machine at the end of an acquire, and what was told before.
pub(crate) async fn lease(
    mut progress: Streaming<AcquireProgress>,
) -> Result<(Lease, Vec<Progress>), Status> {
    let mut told = Vec::new();
    while let Some(message) = progress.message().await? {
        match message.progress.expect("it says something") {
            Progress::Ready(lease) => return Ok((lease, told)),
            other => told.push(other),
        }
    }
    panic!("it ended without a machine, after {told:?}");
}

/// What a step printed from `from` on, whole, and its result.
pub(crate) async fn output(
    events: Streaming<RunEvent>,
    from: u64,
) -> Result<(String, StepResult), Status> {
    let mut read = Reading::of(events, from);
    let result = read.end().await?;
    Ok((read.text(), result))
}

/// A step's stream as it is read, without holes.
pub(crate) struct Reading {
    events: Streaming<RunEvent>,
    from: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Reading {
    pub(crate) fn of(events: Streaming<RunEvent>, from: u64) -> Self {
        let bytes = Vec::new();
        Self {
            events,
            from,
            bytes,
        }
    }

    /// The next message; the result is the last.
    pub(crate) async fn next(&mut self) -> Result<Option<StepResult>, Status> {
        let message = self.events.message().await?;
        let message = message.expect("it does not end without a result");
        match message.event.expect("it says something") {
            Event::Output(output) => {
                assert_eq!(output.offset, self.from + self.bytes.len() as u64);
                self.bytes.extend_from_slice(&output.data);
                Ok(None)
            }
            Event::Result(result) => {
                assert_eq!(result.output_missing, "");
                assert_eq!(self.events.message().await?, None);
                Ok(Some(result))
            }
        }
    }

    pub(crate) async fn end(&mut self) -> Result<StepResult, Status> {
        loop {
            if let Some(result) = self.next().await? {
                return Ok(result);
            }
        }
    }

    /// Reads until this has come.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            let ended = self.next().await.expect("it goes on");
            assert_eq!(ended, None, "it ended: {}", self.text());
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Makes a call again while the runner is away, as every client does.
pub(crate) async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    wait_for("an answer", async || match call().await {
        Ok(answer) => Some(answer),
        // Without a reason it is not the runner's: the connection broke.
        Err(status) if status.get_details_error_info().is_none() => None,
        Err(status) if status.code() == Code::Unavailable => None,
        Err(status) => panic!("{status:?}"),
    })
    .await
}

/// Waits until the runner at `url` knows that the stage waits.
pub(crate) async fn waits(url: &str, stage: &str) {
    let runner = RunnerClient::new(channel(url));
    wait_for("a stage that waits", async || {
        let status = runner.clone().status(StatusRequest::default()).await;
        let pools = status.expect("it answers").into_inner().pools;
        let mut waiters = pools.iter().flat_map(|pool| &pool.waiters);
        waiters.any(|waiter| waiter.stage_id == stage).then_some(())
    })
    .await;
}
