//! What load balancers and tools without our files are told.

use nix::sys::signal::Signal;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::client::{acquire, builds, channel, lease, run, url};
use crate::support::{Site, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_for_each_service_until_the_runner_stops() {
    let site = Site::new(0, 1);
    let mut runner = site.serve().await;
    let health = HealthClient::new(channel(&url(&site, "state")));
    let check = async |service: &str| {
        let service = service.to_owned();
        let request = HealthCheckRequest { service };
        let checked = health.clone().check(request).await;
        checked.map(|it| it.into_inner().status())
    };
    for service in ["", "vmpool.v1.Builds", "vmpool.v1.Runner"] {
        wait_for("a runner that serves", async || {
            let status = check(service).await.expect(service);
            (status == ServingStatus::Serving).then_some(())
        })
        .await;
    }
    check("vmpool.v1.Nothing")
        .await
        .expect_err("there is no such service");

    // A step that runs is waited for, and meanwhile nothing new is to come.
    let mut builds = builds(&site);
    let got = builds.acquire(acquire("s")).await.expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    let go = site.path().join("go");
    let script = format!("until test -e {}; do sleep 0.05; done", go.display());
    let _runs = builds
        .run(run("s", "t", &script))
        .await
        .expect("it is taken");
    let request = HealthCheckRequest {
        service: "vmpool.v1.Builds".to_owned(),
    };
    let mut watched = health
        .clone()
        .watch(request)
        .await
        .expect("it is told")
        .into_inner();
    let first = watched
        .message()
        .await
        .expect("it is told")
        .expect("it is told");
    assert_eq!(first.status(), ServingStatus::Serving);
    runner.signal(Signal::SIGTERM);
    let then = watched
        .message()
        .await
        .expect("it is told")
        .expect("it is told");
    assert_eq!(then.status(), ServingStatus::NotServing);
    std::fs::write(&go, "").expect("written");
    assert!(runner.end().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_learned_by_reflection() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut reflection = ServerReflectionClient::new(channel(&url(&site, "state")));
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "vmpool.v1.Builds".to_owned(),
        )),
    ];
    let answers = reflection
        .server_reflection_info(tokio_stream::iter(asked))
        .await;
    let mut answers = answers.expect("it is taken").into_inner();
    let services = answers
        .message()
        .await
        .expect("an answer")
        .expect("an answer");
    let Some(MessageResponse::ListServicesResponse(services)) = services.message_response else {
        panic!("{services:?}");
    };
    let names: Vec<_> = services.service.iter().map(|it| it.name.as_str()).collect();
    for name in [
        "vmpool.v1.Builds",
        "vmpool.v1.Runner",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let file = answers
        .message()
        .await
        .expect("an answer")
        .expect("an answer");
    assert!(
        matches!(
            file.message_response,
            Some(MessageResponse::FileDescriptorResponse(_))
        ),
        "{file:?}"
    );
    assert!(runner.stop().await.success());
}
