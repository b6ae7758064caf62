//! A client of the gRPC API: runs one command on a fresh machine.
//!
//! ```text
//! grpc_client http://127.0.0.1:3001 linux S1 sh -c 'make && make test'
//! ```
//! Whatever becomes of the runner meanwhile, restart, upgrade or loss, the client
//! connects anew and asks the same again: it gets the same machine, the step
//! is not run twice, and its output goes on at the offset that is named.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;
use vmpool_proto::v1::acquire_progress::Progress;
use vmpool_proto::v1::builds_client::BuildsClient;
use vmpool_proto::v1::run_event::Event;
use vmpool_proto::v1::{AcquireRequest, Lease, ReleaseRequest, RunRequest, StepResult, StepStatus};

/// As long as a runner may take to be replaced.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the machine may take.
const MACHINE: Duration = Duration::from_secs(900);

/// Between two tries, where nobody says how long.
const AGAIN: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(pool), Some(stage)) = (words.next(), words.next(), words.next()) else {
        bail!("usage: grpc_client URL POOL STAGE COMMAND...");
    };
    let command: Vec<String> = words.collect();
    if command.is_empty() {
        bail!("there is no command to run");
    }
    let runner = BuildsClient::new(endpoint(&url)?.connect_lazy());

    let lease = insist(async || acquire(runner.clone(), &pool, &stage).await).await?;
    eprintln!("machine {}", lease.machine_id);
    let mut step = RunRequest {
        stage_id: stage.clone(),
        step_id: "build".to_owned(),
        command,
        ..RunRequest::default()
    };
    let result = insist(async || run(runner.clone(), &mut step).await).await?;
    insist(async || {
        let stage_id = stage.clone();
        let request = ReleaseRequest { stage_id };
        runner.clone().release(request).await
    })
    .await?;
    let exit_code = u8::try_from(result.exit_code).unwrap_or(1);
    Ok(match result.status() {
        StepStatus::Exited => ExitCode::from(exit_code),
        status => {
            eprintln!("{}: {}", status.as_str_name(), result.reason);
            ExitCode::FAILURE
        }
    })
}

/// `http://` may be left out.
fn endpoint(url: &str) -> anyhow::Result<Endpoint> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    Endpoint::from_shared(whole).with_context(|| format!("{url} is no address of a runner"))
}

async fn acquire(
    mut runner: BuildsClient<Channel>,
    pool: &str,
    stage: &str,
) -> Result<Lease, Status> {
    let mut request = Request::new(AcquireRequest {
        stage_id: stage.to_owned(),
        pool: pool.to_owned(),
        ..AcquireRequest::default()
    });
    // The server ends the request before that, and says why.
    request.set_timeout(MACHINE);
    let mut progress = runner.acquire(request).await?.into_inner();
    while let Some(message) = progress.message().await? {
        match message.progress {
            Some(Progress::Ready(lease)) => return Ok(lease),
            Some(other) => eprintln!("{other:?}"),
            None => {}
        }
    }
    Err(Status::unavailable("the stream ended without a machine"))
}

/// Prints the output from `step.from_offset` on, and moves that along.
async fn run(
    mut runner: BuildsClient<Channel>,
    step: &mut RunRequest,
) -> Result<StepResult, Status> {
    let mut events = runner.run(step.clone()).await?.into_inner();
    while let Some(message) = events.message().await? {
        match message.event {
            Some(Event::Output(output)) => {
                let mut out = std::io::stdout().lock();
                let printed = out.write_all(&output.data).and_then(|()| out.flush());
                printed.map_err(|error| Status::cancelled(error.to_string()))?;
                step.from_offset = output.offset + output.data.len() as u64;
            }
            Some(Event::Result(result)) => return Ok(result),
            None => {}
        }
    }
    Err(Status::unavailable("the stream ended without a result"))
}

/// Makes a call, again while its answer is to come again: every call may be
/// made again.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> anyhow::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let told = status
            .get_details_retry_info()
            .and_then(|it| it.retry_delay);
        let pause = match told {
            Some(told) => told,
            // It has no reason, so it is not the runner's: the connection broke.
            None if status.get_details_error_info().is_none() => AGAIN,
            None => return Err(status).context("the runner refused"),
        };
        if Instant::now() > until {
            return Err(status).context("the runner is away");
        }
        eprintln!("again: {:#}", anyhow::Error::new(status));
        sleep(pause).await;
    }
}
