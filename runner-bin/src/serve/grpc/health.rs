//! What load balancers and supervisors are told: `grpc.health.v1`, as a whole
//! and for each service. Nothing serves from the moment the runner is to stop;
//! what is under way is answered still.

use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::health_reporter;
use vmpool_proto::v1::builds_server::BuildsServer;
use vmpool_proto::v1::runner_server::RunnerServer;

use super::builds::Builds;
use super::service::Service;

/// The whole, and each service.
const NAMES: [&str; 3] = [
    "",
    <BuildsServer<Builds> as NamedService>::NAME,
    <RunnerServer<Service> as NamedService>::NAME,
];

/// The service; a task among `tasks` keeps it right until the runner is left.
pub(super) fn health(builds: &Builds, tasks: &TaskTracker) -> HealthServer<impl Health> {
    let (reporter, server) = health_reporter();
    let (desk, leaving) = (builds.desk.clone(), builds.leaving.clone());
    tasks.spawn(async move {
        for name in NAMES {
            reporter
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
        tokio::select! {
            () = desk.stopping() => {}
            () = leaving.cancelled() => {}
        }
        for name in NAMES {
            reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
    });
    server
}
