//! The service itself, as a program asks it.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use vmpool_proto::v1::runner_client::RunnerClient;
use vmpool_proto::v1::{ExplainRequest, StatusRequest, StatusResponse, WatchRequest};

use crate::support::{Site, wait_for};
use crate::tools::url;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

async fn client(url: &str) -> RunnerClient<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    let connected = timeout(PATIENCE, endpoint.connect()).await;
    RunnerClient::new(connected.expect("in time").expect("a runner"))
}

async fn watch(url: &str) -> Streaming<StatusResponse> {
    let watch = client(url).await.watch(WatchRequest::default()).await;
    watch.expect("a watch").into_inner()
}

/// Reads until `look` sees something, or the stream ends.
async fn until<T>(
    watch: &mut Streaming<StatusResponse>,
    mut look: impl FnMut(&StatusResponse) -> Option<T>,
) -> Result<T, Status> {
    loop {
        let next = timeout(PATIENCE, watch.message()).await.expect("in time")?;
        let status = next.expect("it ends by an error only");
        if let Some(seen) = look(&status) {
            return Ok(seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_watcher_sees_changes_and_is_sent_to_the_process_that_comes_next() {
    let site = Site::new(0, 1);
    let mut runner = site.serve().await;
    let url = url(&site);
    let mut seen = watch(&url).await;
    let id = until(&mut seen, |status| Some(status.runner_id.clone())).await;
    let id = id.expect("the first comes at once");
    let machine = site.setup("S1").await;
    let claimed = until(&mut seen, |status| {
        let machines = &status.pools[0].machines;
        let its = machines.iter().find(|machine| machine.stage_id == "S1");
        its.map(|machine| machine.id.clone())
    });
    assert_eq!(claimed.await.expect("it is told"), machine);

    // An upgrade: the same address, another process.
    let before = site.holder();
    runner.signal(Signal::SIGUSR2);
    let end = until::<()>(&mut seen, |_| None).await.expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(end.message().contains("connect again"), "{end}");
    let mut seen = watch(&url).await;
    let next = until(&mut seen, |status| Some(status.clone())).await;
    let next = next.expect("the next process tells");
    assert_eq!(
        (&next.runner_id, &next.pools[0].machines[0].id),
        (&id, &machine)
    );
    wait_for("the new holder", async || {
        (site.holder() != before).then_some(())
    })
    .await;
    runner.end().await;

    let holder = nix::unistd::Pid::from_raw(site.holder());
    nix::sys::signal::kill(holder, Signal::SIGTERM).expect("it lives");
    let end = until::<()>(&mut seen, |_| None).await.expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_nothing_that_is_sent_harms_the_service() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    let url = url(&site);
    let address = url.strip_prefix("http://").expect("a URL");
    // No HTTP/2 at all, and somebody who never says anything.
    let mut garbage = TcpStream::connect(address).await.expect("it listens");
    garbage.write_all(&[0xff; 4096]).await.expect("it is sent");
    let _silent = TcpStream::connect(address).await.expect("it listens");

    let mut client = client(&url).await;
    let mut refused = async |subject: String| {
        let asked = client.explain(ExplainRequest { subject }).await;
        asked.expect_err("it is refused").code()
    };
    assert_eq!(refused(String::new()).await, Code::InvalidArgument);
    assert_eq!(
        refused("no\u{0}thing".to_owned()).await,
        Code::InvalidArgument
    );
    assert_eq!(refused("nothing".to_owned()).await, Code::NotFound);
    assert_eq!(refused("x".repeat(1 << 20)).await, Code::OutOfRange);
    let pool = "windows".to_owned();
    let unknown = client.watch(WatchRequest { pool }).await;
    assert_eq!(unknown.expect_err("there is none").code(), Code::NotFound);
    let status = client.status(StatusRequest::default()).await;
    assert_eq!(status.expect("it serves").into_inner().pools.len(), 1);
}
