//! The API keeps what every API must keep, whichever runner is asked.

use async_trait::async_trait;
use tonic::Status;
use tonic::transport::Channel;
use vmpool_core::StepStatus;
use vmpool_core::testkit::builds::{Acquire, Builds, Does, Ended, LIMIT, Refusal, cases};
use vmpool_proto::v1;
use vmpool_proto::v1::builds_client::BuildsClient;

use crate::client::{Reading, channel, lease, output, reason, release, url, waits};
use crate::fleet::Fleet;
use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn p9_the_api_conforms() {
    let site = Site::new(0, LIMIT);
    let runner = site.serve().await;
    let url = url(&site, "state");
    cases::all(&Wire::to(&url, &url)).await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_runner_whose_the_pool_is_not_conforms() {
    let fleet = Fleet::new(0, LIMIT).await;
    let owner = fleet.runner("owner").await;
    let other = fleet.runner("other").await;
    assert_eq!(fleet.owner().await, Some(owner.url.clone()));
    let asked = url(&fleet.site, "other");
    cases::all(&Wire::to(&asked, &url(&fleet.site, "owner"))).await;
    assert_eq!(fleet.owner().await, Some(owner.url.clone()));
    assert!(other.process.stop().await.success());
    assert!(owner.process.stop().await.success());
}

/// The API over gRPC.
struct Wire {
    builds: BuildsClient<Channel>,
    owner: String,
}

impl Wire {
    /// The runner that is asked, and the one that has the pool.
    fn to(asked: &str, owner: &str) -> Self {
        Self {
            builds: BuildsClient::new(channel(asked)),
            owner: owner.to_owned(),
        }
    }
}

#[async_trait(?Send)]
impl Builds for Wire {
    async fn acquire(&self, asked: Acquire) -> Result<String, Refusal> {
        let env = [("VARIABLE".to_owned(), asked.variable)];
        let request = v1::AcquireRequest {
            stage_id: asked.stage,
            pool: asked.pool,
            setup: Some(v1::Setup {
                env: env.into(),
                ..v1::Setup::default()
            }),
            wait_ms: asked.wait.unwrap_or_default() * 1000,
            ..v1::AcquireRequest::default()
        };
        let progress = self.builds.clone().acquire(request).await;
        let (lease, _) = lease(progress.map_err(|status| refusal(&status))?.into_inner())
            .await
            .map_err(|status| refusal(&status))?;
        Ok(lease.machine_id)
    }

    async fn release(&self, stage: &str) -> Result<(), Refusal> {
        let released = self.builds.clone().release(release(stage)).await;
        released.map(drop).map_err(|status| refusal(&status))
    }

    async fn run(&self, stage: &str, step: &str, does: Does, from: u64) -> Result<Ended, Refusal> {
        let request = request(stage, step, does, from);
        let events = self.builds.clone().run(request).await;
        ended(
            output(
                events.map_err(|status| refusal(&status))?.into_inner(),
                from,
            )
            .await,
        )
    }

    async fn attach(&self, stage: &str, step: &str, from: u64) -> Result<Ended, Refusal> {
        let request = v1::AttachRequest {
            stage_id: stage.to_owned(),
            step_id: step.to_owned(),
            from_offset: from,
        };
        let events = self.builds.clone().attach(request).await;
        ended(
            output(
                events.map_err(|status| refusal(&status))?.into_inner(),
                from,
            )
            .await,
        )
    }

    async fn run_and_leave(&self, stage: &str, step: &str, does: Does, bytes: usize) -> String {
        let events = self.builds.clone().run(request(stage, step, does, 0)).await;
        let mut reading = Reading::of(events.expect("it is taken").into_inner(), 0);
        while reading.bytes.len() < bytes {
            let ended = reading.next().await.expect("it runs");
            assert_eq!(ended, None);
        }
        reading.text()
    }

    async fn cancel(&self, stage: &str, step: &str) -> Result<(), Refusal> {
        let request = v1::CancelRequest {
            stage_id: stage.to_owned(),
            step_id: step.to_owned(),
        };
        let cancelled = self.builds.clone().cancel(request).await;
        cancelled.map(drop).map_err(|status| refusal(&status))
    }

    async fn waits(&self, stage: &str) {
        waits(&self.owner, stage).await;
    }
}

fn request(stage: &str, step: &str, does: Does, from: u64) -> v1::RunRequest {
    v1::RunRequest {
        stage_id: stage.to_owned(),
        step_id: step.to_owned(),
        command: does.command(),
        from_offset: from,
        ..v1::RunRequest::default()
    }
}

fn ended(read: Result<(String, v1::StepResult), Status>) -> Result<Ended, Refusal> {
    let (output, result) = read.map_err(|status| refusal(&status))?;
    let status = match result.status() {
        v1::StepStatus::Exited => StepStatus::Exited {
            code: result.exit_code,
        },
        v1::StepStatus::Cancelled => StepStatus::Cancelled,
        other => panic!("it ended as {other:?}: {result:?}"),
    };
    Ok(Ended { status, output })
}

fn refusal(status: &Status) -> Refusal {
    match reason(status).as_str() {
        "CONFLICT" => Refusal::Conflict,
        "UNKNOWN_POOL" => Refusal::UnknownPool,
        "UNKNOWN_STAGE" => Refusal::UnknownStage,
        "UNKNOWN_STEP" => Refusal::UnknownStep,
        "STAGE_OVER" => Refusal::StageOver,
        "NO_MACHINE_IN_TIME" => Refusal::NoMachineInTime,
        _ => Refusal::Other(format!("{status:?}")),
    }
}
