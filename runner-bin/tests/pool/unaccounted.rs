//! A ledger that is not zero. No runner has one for long, so this one is made up.

use std::pin::Pin;

use futures_util::{Stream, stream};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use vmpool_proto::v1;
use vmpool_proto::v1::ledger_line::Kind;
use vmpool_proto::v1::runner_server::{Runner, RunnerServer};

use crate::tools::vmpool;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Has lost a machine.
struct Careless;

#[tonic::async_trait]
impl Runner for Careless {
    type WatchStream = Answers<v1::StatusResponse>;
    type LedgerStream = Answers<v1::LedgerLine>;
    type LogStream = Answers<v1::LogPart>;

    async fn ledger(
        &self,
        _: Request<v1::LedgerRequest>,
    ) -> Result<Response<Self::LedgerStream>, Status> {
        let machine = v1::LedgerMachine {
            id: "i-0abc".to_owned(),
            pool: "linux".to_owned(),
            unaccounted: "the provider shows it, and nobody knows it".to_owned(),
            ..v1::LedgerMachine::default()
        };
        let summary = v1::LedgerSummary {
            machines: 1,
            unaccounted: 1,
            ..v1::LedgerSummary::default()
        };
        let lines = [Kind::Machine(machine), Kind::Summary(summary)];
        let lines = lines.map(|kind| Ok(v1::LedgerLine { kind: Some(kind) }));
        Ok(Response::new(Box::pin(stream::iter(lines))))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Err(Status::internal("a bug\u{1b}[31m"))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn explain(
        &self,
        _: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unavailable("the journal does not answer"))
    }

    async fn cordon(&self, _: Request<v1::CordonRequest>) -> Result<Response<v1::Pool>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn fill(&self, _: Request<v1::FillRequest>) -> Result<Response<v1::Pool>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn stages(
        &self,
        _: Request<v1::StagesRequest>,
    ) -> Result<Response<v1::StagesResponse>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn one_stage(
        &self,
        _: Request<v1::OneStageRequest>,
    ) -> Result<Response<v1::Stage>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn cancel_stage(
        &self,
        _: Request<v1::CancelStageRequest>,
    ) -> Result<Response<v1::CancelStageResponse>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn cancel_step(
        &self,
        _: Request<v1::CancelStepRequest>,
    ) -> Result<Response<v1::CancelStepResponse>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn hold(
        &self,
        _: Request<v1::HoldRequest>,
    ) -> Result<Response<v1::HoldResponse>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn release_hold(
        &self,
        _: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn log(&self, _: Request<v1::LogRequest>) -> Result<Response<Self::LogStream>, Status> {
        Err(Status::internal("a bug"))
    }

    async fn sweep(
        &self,
        _: Request<v1::SweepRequest>,
    ) -> Result<Response<v1::SweepResponse>, Status> {
        Ok(Response::new(v1::SweepResponse {
            owner: "ci".to_owned(),
            troubles: vec!["list the machines: not allowed".to_owned()],
            ..v1::SweepResponse::default()
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_machine_that_is_not_accounted_for_is_exit_code_1_with_its_reason() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address"));
    let incoming = incoming.expect("a free port");
    let url = format!("http://{}", incoming.local_addr().expect("its address"));
    let mut serving = JoinSet::new();
    let server = Server::builder().add_service(RunnerServer::new(Careless));
    serving.spawn(server.serve_with_incoming(incoming));
    let asked = ["--runner", &url];

    let told = vmpool(&[&["pool", "ledger"][..], &asked].concat()).await;
    assert_eq!(told.code, 1, "{told:?}");
    let why = "NOT ACCOUNTED FOR: the provider shows it, and nobody knows it";
    for part in ["i-0abc", why, "1 not accounted for"] {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }
    let json = vmpool(&[&["pool", "ledger", "--json"][..], &asked].concat()).await;
    assert_eq!(json.code, 1, "{json:?}");
    let lines = json.lines();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["state"]),
        (&json!("i-0abc"), &json!(null))
    );
    assert_eq!(lines[1]["summary"]["unaccounted"], json!(1));

    // What else a runner may answer has a code, and no power over the terminal.
    let bug = vmpool(&[&["pool", "ls"][..], &asked].concat()).await;
    assert_eq!(bug.code, 1, "{bug:?}");
    assert!(!bug.error.contains('\u{1b}'), "{bug:?}");
    let away = vmpool(&[&["explain", "17"][..], &asked].concat()).await;
    assert_eq!(away.code, 4, "{away:?}");
    assert!(
        away.error.contains("the journal does not answer"),
        "{away:?}"
    );
    let swept = vmpool(&[&["sweep"][..], &asked].concat()).await;
    assert_eq!(swept.code, 1, "{swept:?}");
    assert!(swept.error.contains("not allowed"), "{swept:?}");
}
