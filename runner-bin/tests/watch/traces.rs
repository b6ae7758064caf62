//! Traces of builds, as a collector in the test's own process is sent them by
//! the real program.

use std::path::Path;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::support::{Serving, Site, setup, step, wait_for};

/// What was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let sent = request.into_inner().resource_spans.into_iter();
        let sent = sent.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        self.0.lock().extend(sent);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn begin(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let served = Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tasks.spawn(async move { served.await.expect("serve the collector") });
        url
    }

    /// Waits for a span of this name, for each of them.
    async fn wait_for(&self, names: &[&str]) -> Vec<Span> {
        let all = wait_for(&format!("spans {names:?}"), async || {
            let spans = self.0.lock().clone();
            let has = |name: &&str| spans.iter().any(|span| span.name == *name);
            names.iter().all(has).then_some(spans)
        })
        .await;
        let first = |name: &&str| all.iter().find(|span| span.name == *name);
        names.iter().filter_map(first).cloned().collect()
    }
}

/// Where the site's runner is asked, by its own command line.
fn listens(site: &Site) -> String {
    let command = site.command(Path::new("vmpool"));
    let mut args = command.get_args().skip_while(|arg| *arg != "--listen");
    let address = args.nth(1).expect("an address");
    address.to_string_lossy().into_owned()
}

async fn runner(site: &Site, otlp: &str) -> Serving {
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    command.args(["--otlp", otlp]);
    site.ready(&mut command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_one_trace_from_its_setup_to_its_end() {
    let (site, collector, mut tasks) = (Site::new(1, 2), Collector::default(), JoinSet::new());
    let runner = runner(&site, &collector.begin(&mut tasks).await).await;
    site.setup("S1").await;
    site.insist("/step", &step("S1", "one", "exit 3")).await;
    site.destroy("S1").await;
    let names = [
        "stage", "setup", "claim", "commit", "prepare", "step", "follow", "run", "destroy",
    ];
    let spans = collector.wait_for(&names).await;
    let [
        stage,
        setup,
        claim,
        commit,
        prepare,
        step,
        follow,
        run,
        destroy,
    ] = &spans[..]
    else {
        panic!("{spans:?}");
    };
    assert!(spans.iter().all(|span| span.trace_id == stage.trace_id));
    assert!(stage.parent_span_id.is_empty());
    for (child, parent) in [
        (setup, stage),
        (claim, setup),
        (commit, claim),
        (prepare, setup),
        (step, stage),
        (follow, step),
        (run, follow),
        (destroy, stage),
    ] {
        let (child, of) = (&child.name, &child.parent_span_id);
        assert_eq!(*of, parent.span_id, "{child} is not of {}", parent.name);
    }
    assert!(run.end_time_unix_nano > run.start_time_unix_nano);
    assert!(prepare.start_time_unix_nano >= claim.end_time_unix_nano);
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_trace_goes_on_here() {
    let (site, collector, mut tasks) = (Site::new(1, 2), Collector::default(), JoinSet::new());
    let runner = runner(&site, &collector.begin(&mut tasks).await).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = setup("S1").to_string();
    let request = format!(
        "POST /setup HTTP/1.1\r\nhost: vmpool\r\nconnection: close\r\n\
         traceparent: {traceparent}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = TcpStream::connect(listens(&site)).await;
    let mut stream = stream.expect("a connection");
    let asked = stream.write_all(request.as_bytes()).await;
    asked.expect("ask");
    let mut answer = String::new();
    let heard = stream.read_to_string(&mut answer).await;
    heard.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let spans = collector.wait_for(&["setup", "claim"]).await;
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace));
    assert_eq!(
        spans[0].parent_span_id,
        0xb7ad_6b71_6920_3331_u64.to_be_bytes()
    );
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_builds_nothing_and_what_was_dropped_is_counted() {
    let site = Site::new(1, 2);
    // It accepts and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", deaf.local_addr().expect("an address"));
    let runner = runner(&site, &url).await;
    site.setup("S1").await;
    let answer = site.insist("/step", &step("S1", "one", "true")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    site.destroy("S1").await;
    drop(deaf);
    wait_for("spans that are dropped", async || {
        let told = site.get("/metrics").await?.body;
        let dropped = "vmpool_trace_spans_total{outcome=\"dropped\"} ";
        let line = told.lines().find_map(|line| line.strip_prefix(dropped))?;
        (line != "0").then_some(())
    })
    .await;
    assert!(runner.stop().await.success());
}
