//! Errors say what went wrong, in words that programs can read, and change nothing.

use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use vmpool_proto::v1::acquire_progress::Progress;
use vmpool_proto::v1::{AttachRequest, Evidence, GetStageRequest};

use crate::client::{acquire, builds, lease, output, reason, release, run};
use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn p13_bad_requests_name_the_field() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let mut bad = acquire("s");
    bad.stage_id.clear();
    let refused = match builds.acquire(bad).await {
        Ok(progress) => lease(progress.into_inner())
            .await
            .expect_err("it is refused"),
        Err(refused) => refused,
    };
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let bad = refused
        .get_details_bad_request()
        .expect("it names the field");
    assert_eq!(bad.field_violations[0].field, "stage_id");

    let mut no_command = run("s", "t", "");
    no_command.command.clear();
    let refused = match builds.run(no_command).await {
        Ok(events) => output(events.into_inner(), 0)
            .await
            .expect_err("it is refused"),
        Err(refused) => refused,
    };
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let unknown = GetStageRequest {
        stage_id: "s".to_owned(),
    };
    let refused = builds
        .get_stage(unknown)
        .await
        .expect_err("nothing was begun");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::NotFound, "UNKNOWN_STAGE")
    );
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_call_s_deadline_is_the_request_s_and_the_reason_arrives_before_it() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let got = builds.acquire(acquire("first")).await.expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    let mut second = Request::new(acquire("second"));
    second.set_timeout(Duration::from_secs(3));
    let mut progress = builds
        .acquire(second)
        .await
        .expect("it is taken")
        .into_inner();
    let told = progress
        .message()
        .await
        .expect("it waits")
        .expect("it waits");
    assert!(
        matches!(&told.progress, Some(Progress::Queued(queued)) if queued.position == 1),
        "{told:?}"
    );
    let refused = loop {
        match progress.message().await {
            Ok(told) => drop(told.expect("it does not end without a reason")),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert_eq!(reason(&refused), "NO_MACHINE_IN_TIME");
    assert!(
        refused
            .message()
            .contains("no machine of pool linux for stage second"),
        "{refused:?}"
    );
    let details = tonic_types::pb::Status::decode(refused.details()).expect("a status");
    let evidence = details.details.iter();
    let mut evidence = evidence.filter(|any| any.type_url.ends_with("vmpool.v1.Evidence"));
    Evidence::decode(&*evidence.next().expect("evidence").value).expect("it is read");
    builds.release(release("first")).await.expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_run_that_is_over_its_deadline_leaves_the_step_running() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let got = builds.acquire(acquire("s")).await.expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    let go = site.path().join("go");
    let script = format!(
        "echo one; until test -e {}; do sleep 0.05; done; echo two",
        go.display()
    );
    let mut short = Request::new(run("s", "t", &script));
    short.set_timeout(Duration::from_secs(1));
    let events = builds.run(short).await.expect("it is taken");
    let refused = output(events.into_inner(), 0)
        .await
        .expect_err("it takes longer");
    assert_eq!(reason(&refused), "CALL_OVER_TIME", "{refused:?}");
    std::fs::write(&go, "").expect("written");
    let attach = AttachRequest {
        stage_id: "s".to_owned(),
        step_id: "t".to_owned(),
        from_offset: 4,
    };
    let events = builds.attach(attach.clone()).await.expect("it is there");
    let (text, result) = output(events.into_inner(), 4).await.expect("it ends");
    assert_eq!((text.as_str(), result.output_end), ("two\n", 8));

    let beyond = AttachRequest {
        from_offset: 9,
        ..attach
    };
    let events = builds.attach(beyond).await.expect("it is taken");
    let refused = output(events.into_inner(), 9)
        .await
        .expect_err("there is no such byte");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::OutOfRange, "OFFSET_BEYOND_OUTPUT")
    );
    builds.release(release("s")).await.expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}
