//! An agent service whose steps are what the test says.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, Stream, StreamExt};
use lite_engine::identity::{Identity, renew_certificate};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use vmpool_proto::agent::v1::agent_server::Agent;
use vmpool_proto::agent::v1::run_event::Kind as Event;
use vmpool_proto::agent::v1::run_request::Kind as Run;
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::*;

/// Copies share what they hold.
#[derive(Clone, Default)]
pub(crate) struct Stub(Arc<Shared>);

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    identity: Mutex<Option<Identity>>,
    tasks: TaskTracker,
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) term: u64,
    pub(crate) opens: usize,
    pub(crate) prepared: Option<PrepareRequest>,
    pub(crate) cleaned: usize,
    pub(crate) cancelled: Vec<String>,
    pub(crate) renewals: usize,
    /// What every call but `Open` is answered with.
    pub(crate) refuse: Option<Status>,
    pub(crate) steps: HashMap<String, StubStep>,
}

pub(crate) struct StubStep {
    pub(crate) start: StartStep,
    pub(crate) starts: usize,
    pub(crate) attaches: Vec<u64>,
    pub(crate) acknowledged: u64,
    so_far: watch::Sender<SoFar>,
}

#[derive(Clone, Default)]
struct SoFar {
    log: Vec<u8>,
    ended: Option<StepEnded>,
}

impl Stub {
    pub(crate) fn set_identity(&self, identity: Identity) {
        *self.0.identity.lock().expect("no panic") = Some(identity);
    }

    pub(crate) fn book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.0.book.lock().expect("no panic"))
    }

    pub(crate) fn has(&self, step: &str) -> bool {
        self.book(|book| book.steps.contains_key(step))
    }

    /// The step prints.
    pub(crate) fn print(&self, step: &str, text: &[u8]) {
        self.book(|book| {
            book.steps[step]
                .so_far
                .send_modify(|so_far| so_far.log.extend_from_slice(text));
        });
    }

    /// The step ends by itself.
    pub(crate) fn exit(&self, step: &str, code: i32) {
        self.book(|book| {
            book.steps[step].so_far.send_modify(|so_far| {
                so_far.ended = Some(StepEnded {
                    how: How::Exited.into(),
                    code,
                    reason: String::new(),
                    started_at_ms: 1,
                    ended_at_ms: 2,
                    log_end: so_far.log.len() as u64,
                    returned: None,
                });
            });
        });
    }

    fn check(&self, term: u64) -> Result<(), Status> {
        self.book(|book| {
            if let Some(status) = &book.refuse {
                let (code, message) = (status.code(), status.message().to_owned());
                return Err(Status::with_metadata(
                    code,
                    message,
                    status.metadata().clone(),
                ));
            }
            match term.cmp(&book.term) {
                Less => Err(fenced(book.term)),
                Equal => Ok(()),
                Greater => Err(refused("NOT_OPENED", format!("term {term} was not opened"))),
            }
        })
    }

    fn begin(&self, first: Option<Run>) -> Result<(String, u64), Status> {
        match first {
            Some(Run::Start(start)) => {
                self.check(start.term)?;
                let (id, offset) = (start.step_id.clone(), start.log_offset);
                self.book(|book| {
                    let step = book.steps.entry(id.clone()).or_insert_with(|| StubStep {
                        start,
                        starts: 0,
                        attaches: Vec::new(),
                        acknowledged: 0,
                        so_far: watch::Sender::default(),
                    });
                    step.starts += 1;
                });
                Ok((id, offset))
            }
            Some(Run::Attach(attach)) => {
                self.check(attach.term)?;
                self.book(|book| {
                    let step = book.steps.get_mut(&attach.step_id);
                    let step = step.ok_or_else(|| Status::not_found("no such step"))?;
                    step.attaches.push(attach.log_offset);
                    Ok((attach.step_id, attach.log_offset))
                })
            }
            _ => Err(Status::invalid_argument("neither start nor attach")),
        }
    }
}

fn fenced(term: u64) -> Status {
    let mut status = refused("FENCED", format!("term {term} rules"));
    let term = term.to_string().parse().expect("ASCII");
    status.metadata_mut().insert("vmpool-term", term);
    status
}

fn refused(reason: &'static str, message: String) -> Status {
    let mut status = Status::failed_precondition(message);
    let reason = MetadataValue::from_static(reason);
    status.metadata_mut().insert("vmpool-reason", reason);
    status
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Stub {
    type RunStream = Events<RunEvent>;
    type WatchStream = Events<WatchEvent>;
    type RenewCertificateStream = Events<RenewCertificateResponse>;

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<Report>, Status> {
        let term = request.into_inner().term;
        self.book(|book| {
            book.opens += 1;
            if term < book.term {
                return Err(fenced(book.term));
            }
            book.term = term;
            Ok(Response::new(Report {
                term: Some(term),
                stage_id: book
                    .prepared
                    .as_ref()
                    .map(|prepared| prepared.stage_id.clone()),
                version: "stub".to_owned(),
                ..Report::default()
            }))
        })
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        self.check(request.into_inner().term)?;
        Ok(Response::new(RenewResponse {}))
    }

    async fn prepare(
        &self,
        request: Request<PrepareRequest>,
    ) -> Result<Response<PrepareResponse>, Status> {
        let request = request.into_inner();
        self.check(request.term)?;
        self.book(|book| book.prepared = Some(request));
        Ok(Response::new(PrepareResponse {
            workdir: "/work".to_owned(),
        }))
    }

    async fn run(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.kind);
        let (id, offset) = self.begin(first)?;
        let (stub, of) = (self.clone(), id.clone());
        self.0.tasks.spawn(async move {
            while let Ok(Some(RunRequest {
                kind: Some(Run::Acknowledge(to)),
            })) = requests.message().await
            {
                stub.book(|book| {
                    book.steps.get_mut(&of).expect("the step").acknowledged = to.log_offset;
                });
            }
        });
        let so_far = self.book(|book| book.steps[&id].so_far.subscribe());
        let events = stream::unfold(Some((so_far, offset)), |state| async move {
            let (mut so_far, offset) = state?;
            let at = usize::try_from(offset).expect("a small log");
            let now = so_far
                .wait_for(|so_far| so_far.log.len() > at || so_far.ended.is_some())
                .await
                .ok()?
                .clone();
            // At most a chunk at a time, as an agent would.
            let fresh: Vec<u8> = now.log[at..].iter().copied().take(64 * 1024).collect();
            if fresh.is_empty() {
                return Some((Event::Ended(now.ended.expect("its end")), None));
            }
            let next = offset + fresh.len() as u64;
            Some((
                Event::Output(Output {
                    offset,
                    data: fresh.into(),
                }),
                Some((so_far, next)),
            ))
        });
        Ok(Response::new(Box::pin(
            events.map(|kind| Ok(RunEvent { kind: Some(kind) })),
        )))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<CancelResponse>, Status> {
        let request = request.into_inner();
        self.check(request.term)?;
        self.book(|book| book.cancelled.push(request.step_id));
        Ok(Response::new(CancelResponse {}))
    }

    async fn hold(
        &self,
        request: Request<vmpool_proto::agent::v1::HoldRequest>,
    ) -> Result<Response<vmpool_proto::agent::v1::HoldResponse>, Status> {
        self.check(request.into_inner().term)?;
        Ok(Response::new(vmpool_proto::agent::v1::HoldResponse {}))
    }

    async fn cleanup(
        &self,
        request: Request<CleanupRequest>,
    ) -> Result<Response<CleanupResponse>, Status> {
        self.check(request.into_inner().term)?;
        self.book(|book| book.cleaned += 1);
        Ok(Response::new(CleanupResponse {}))
    }

    /// Tells nothing: an agent of an earlier version.
    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("no such call"))
    }

    async fn renew_certificate(
        &self,
        request: Request<Streaming<RenewCertificateRequest>>,
    ) -> Result<Response<Self::RenewCertificateStream>, Status> {
        let identity = self
            .0
            .identity
            .lock()
            .expect("no panic")
            .clone()
            .expect("an identity");
        self.book(|book| book.renewals += 1);
        let stub = self.clone();
        let fence = move |term| stub.check(term);
        let answers = renew_certificate(identity, request.into_inner(), fence);
        Ok(Response::new(Box::pin(answers)))
    }
}
