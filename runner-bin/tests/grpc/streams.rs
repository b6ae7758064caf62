//! Streams: what they tell, and that they come through whatever ends them.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;
use vmpool_proto::v1::acquire_progress::Progress;
use vmpool_proto::v1::builds_client::BuildsClient;
use vmpool_proto::v1::{GetStageRequest, StageState, WatchEventsRequest};

use crate::client::{
    Reading, acquire, builds, channel, insist, lease, output, reason, release, run, serve, url,
    waits,
};
use crate::fleet::Fleet;
use crate::support::{Site, free_port, install};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn p3_who_waits_is_told_how_that_goes() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let got = builds.acquire(acquire("first")).await.expect("it is taken");
    let (first, told) = lease(got.into_inner()).await.expect("a machine");
    let of_machines = |told: &[Progress]| {
        told.iter()
            .any(|told| matches!(told, Progress::Launching(_) | Progress::Booting(_)))
    };
    assert!(of_machines(&told), "{told:?}");
    assert_eq!(
        (first.stage_id.as_str(), first.pool.as_str()),
        ("first", "linux")
    );
    assert!(
        first.deadline_unix_ms > first.claimed_at_unix_ms,
        "{first:?}"
    );

    let url = url(&site, "state");
    let second = builds
        .clone()
        .acquire(acquire("second"))
        .await
        .expect("it is taken");
    let (second, ()) = tokio::join!(lease(second.into_inner()), async {
        waits(&url, "second").await;
        builds
            .clone()
            .release(release("first"))
            .await
            .expect("released");
    });
    let (second, told) = second.expect("a machine");
    // Only the latest news is told: by then its machine may have been ordered, and boot.
    let first_told = told.iter().any(|progress| match progress {
        Progress::Queued(queued) => queued.position == 1,
        Progress::Launching(launching) => launching.position == 1,
        Progress::Booting(booting) => booting.position == 1,
        _ => false,
    });
    assert!(first_told, "{told:?}");
    assert_ne!(second.machine_id, first.machine_id);
    builds.release(release("second")).await.expect("released");

    let stage = GetStageRequest {
        stage_id: "second".to_owned(),
    };
    let stage = builds
        .get_stage(stage)
        .await
        .expect("it is known")
        .into_inner();
    assert_eq!(
        (stage.state(), stage.ended.as_str()),
        (StageState::Ended, "released")
    );
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

/// Neither while the first runs nor after it.
#[tokio::test(flavor = "multi_thread")]
async fn p5_another_step_of_the_same_id_is_refused_and_shown_nothing_of_the_first() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let got = builds.acquire(acquire("s")).await.expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    let go = site.path().join("go");
    let script = format!(
        "echo one; until test -e {}; do sleep 0.05; done",
        go.display()
    );
    let first = builds.run(run("s", "t", &script)).await;
    let mut first = Reading::of(first.expect("it is taken").into_inner(), 0);
    first.until("one\n").await;

    let shown_another = async |mut builds: BuildsClient<_>| {
        let other = builds.run(run("s", "t", "echo other")).await;
        let mut other = Reading::of(other.expect("it is taken").into_inner(), 0);
        let refused = other.end().await.expect_err("it is another step");
        assert_eq!(reason(&refused), "CONFLICT", "{refused:?}");
        other.text()
    };
    assert_eq!(shown_another(builds.clone()).await, "");
    std::fs::write(&go, "").expect("written");
    first.end().await.expect("it ends");
    assert_eq!(shown_another(builds.clone()).await, "");
    builds.release(release("s")).await.expect("released");
    assert_eq!(shown_another(builds.clone()).await, "");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_killed_runner_s_client_goes_on_with_the_next_one() {
    let site = Site::new(0, 1);
    let port = free_port();
    let first = serve(&site, Path::new(PROGRAM), port).await;
    let builds = BuildsClient::new(channel(&format!("http://127.0.0.1:{port}")));
    let got = builds
        .clone()
        .acquire(acquire("s"))
        .await
        .expect("it is taken");
    let (machine, _) = lease(got.into_inner()).await.expect("a machine");
    let go = site.path().join("go");
    let script = format!(
        "echo one; until test -e {}; do sleep 0.05; done; echo two",
        go.display()
    );
    let events = builds
        .clone()
        .run(run("s", "t", &script))
        .await
        .expect("it is taken");
    let mut reading = Reading::of(events.into_inner(), 0);
    reading.until("one\n").await;
    first.kill().await;
    let broken = reading.end().await.expect_err("the runner is gone");
    assert!(broken.get_details_error_info().is_none(), "{broken:?}");
    std::fs::write(&go, "").expect("written");

    let second = serve(&site, Path::new(PROGRAM), port).await;
    let same = insist(async || {
        let got = builds.clone().acquire(acquire("s")).await?;
        lease(got.into_inner()).await
    })
    .await;
    assert_eq!(same.0.machine_id, machine.machine_id);
    let mut rest = run("s", "t", &script);
    rest.from_offset = 4;
    let (text, result) = insist(async || {
        let events = builds.clone().run(rest.clone()).await?;
        output(events.into_inner(), 4).await
    })
    .await;
    assert_eq!(
        (text.as_str(), result.output_end, result.exit_code),
        ("two\n", 8, 0)
    );
    builds
        .clone()
        .release(release("s"))
        .await
        .expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_upgrade_in_place_ends_streams_so_that_their_callers_come_again() {
    let site = Site::new(0, 2);
    let program = site.path().join("vmpool");
    install(Path::new(PROGRAM), &program);
    let mut old = serve(&site, &program, free_port()).await;
    let url = url(&site, "state");
    let before = BuildsClient::new(channel(&url));
    let got = before
        .clone()
        .acquire(acquire("s"))
        .await
        .expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    let go = site.path().join("go");
    let script = format!(
        "seq 9999; until test -e {}; do sleep 0.05; done; echo two",
        go.display()
    );
    let events = before
        .clone()
        .run(run("s", "t", &script))
        .await
        .expect("it is taken");
    let mut reading = Reading::of(events.into_inner(), 0);
    reading.until("9999\n").await;
    // One that nobody reads holds nothing up.
    let unread = before
        .clone()
        .run(run("s", "t", &script))
        .await
        .expect("it is taken");
    install(Path::new(PROGRAM), &program);
    old.signal(Signal::SIGUSR2);
    let moved = reading.end().await.expect_err("the runner is left");
    assert_eq!(
        (moved.code(), &*reason(&moved)),
        (Code::Unavailable, "RUNNER_LEAVES")
    );
    std::fs::write(&go, "").expect("written");
    let after = BuildsClient::new(channel(&url));
    let at = reading.bytes.len() as u64;
    let mut rest = run("s", "t", &script);
    rest.from_offset = at;
    let (text, result) = insist(async || {
        let events = after.clone().run(rest.clone()).await?;
        output(events.into_inner(), at).await
    })
    .await;
    assert_eq!((text.as_str(), result.exit_code), ("two\n", 0));
    assert!(old.end().await.success());
    drop(unread);
    insist(async || after.clone().release(release("s")).await).await;
    site.wait_until_no_machine_is_left().await;
    let holder = nix::unistd::Pid::from_raw(site.holder());
    nix::sys::signal::kill(holder, Signal::SIGTERM).expect("it lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_any_runner_of_the_deployment_shows_the_output_and_another_takes_over() {
    let fleet = Fleet::new(0, 2).await;
    let owner = fleet.runner("owner").await;
    let other = fleet.runner("other").await;
    let asks = BuildsClient::new(channel(&url(&fleet.site, "other")));
    let got = asks
        .clone()
        .acquire(acquire("s"))
        .await
        .expect("it is taken");
    let (machine, _) = lease(got.into_inner()).await.expect("a machine");
    let go = fleet.site.path().join("go");
    let script = format!(
        "echo one; until test -e {}; do sleep 0.05; done; echo two",
        go.display()
    );
    let step = run("s", "t", &script);
    let events = asks.clone().run(step.clone()).await.expect("it is taken");
    let mut reading = Reading::of(events.into_inner(), 0);
    reading.until("one\n").await;
    owner.process.kill().await;
    std::fs::write(&go, "").expect("written");
    // The other runner takes over while the call goes on.
    let result = tokio::time::timeout(PATIENCE, reading.end()).await;
    let result = result.expect("it ends").expect("it is answered");
    assert_eq!(
        (reading.text().as_str(), result.exit_code),
        ("one\ntwo\n", 0)
    );
    let got = asks
        .clone()
        .acquire(acquire("s"))
        .await
        .expect("it is taken");
    let (same, _) = lease(got.into_inner()).await.expect("the machine");
    assert_eq!(same.machine_id, machine.machine_id);
    asks.clone().release(release("s")).await.expect("released");
    assert!(other.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_costs_no_memory_and_holds_nobody_up() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let builds = builds(&site);
    let got = builds
        .clone()
        .acquire(acquire("s"))
        .await
        .expect("it is taken");
    lease(got.into_inner()).await.expect("a machine");
    // 64 MB: more than any buffer between a runner and its caller has.
    let step = run("s", "t", "yes 0123456789abcde | head -c 64000000");
    let slow = builds.clone().run(step.clone()).await.expect("it is taken");
    let before = site.peak_memory();
    let fast = builds.clone().run(step).await.expect("it is taken");
    let mut read = Reading::of(fast.into_inner(), 0);
    let result = read.end().await.expect("it ends");
    assert_eq!(
        (result.output_end, read.bytes.len()),
        (64_000_000, 64_000_000)
    );
    let grown = site.peak_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let (text, _) = output(slow.into_inner(), 0)
        .await
        .expect("it is there still");
    assert!(text.as_bytes() == read.bytes, "the same bytes");
    builds
        .clone()
        .release(release("s"))
        .await
        .expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_with_their_causes_and_go_on_after_the_last_one_seen() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let events = builds.watch_events(WatchEventsRequest::default()).await;
    let mut events = events.expect("it is taken").into_inner();
    let got = builds.acquire(acquire("s")).await.expect("it is taken");
    let (machine, _) = lease(got.into_inner()).await.expect("a machine");
    let mut seen = Vec::new();
    while !seen.iter().any(|event: &vmpool_proto::v1::PoolEvent| {
        event.stage_id == "s" && event.what == "prepared"
    }) {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let event = event.expect("it comes").expect("it goes on");
        seen.push(event.expect("it does not end"));
    }
    assert!(
        seen.is_sorted_by(|one, next| one.seq < next.seq),
        "{seen:?}"
    );
    let of_machine = seen
        .iter()
        .find(|event| event.machine_id == machine.machine_id);
    let of_machine = of_machine.expect("the machine's");
    assert_eq!(of_machine.pool, "linux");
    assert!(!of_machine.cause.is_empty(), "{of_machine:?}");

    // Somebody who saw the first one only.
    let again = WatchEventsRequest {
        pool: "linux".to_owned(),
        after_seq: Some(seen[0].seq),
    };
    let again = builds.watch_events(again).await.expect("it is taken");
    let next = again.into_inner().message().await.expect("it goes on");
    let next = next.expect("it does not end");
    // Whose a request is that had no machine yet could not be told at first.
    let missed = seen[1..].iter().find(|event| event.pool == "linux");
    let missed = missed.expect("the machine's, at least");
    assert!(next.seq > seen[0].seq && next.seq <= missed.seq, "{next:?}");
    let told = seen.iter().find(|event| event.seq == next.seq);
    let told = told.expect("it was told before");
    assert_eq!((&told.what, &told.cause), (&next.what, &next.cause));
    builds.release(release("s")).await.expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}
