//! The agent's gRPC service: checks what comes in, puts it to the engine, and
//! waits for what it has begun.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use vmpool_core::agent::{Call, Refusal, Rules, StagePhase};
use vmpool_core::{BootPhase, Term};
use vmpool_proto::agent::v1 as proto;
use vmpool_proto::agent::v1::agent_server::Agent;
use vmpool_proto::agent::v1::run_request::Kind;

use super::digest::Digests;
use super::engine::{CallError, Engine};
use super::follow::{Followed, follow, to_wire};
use super::input::{StageInput, StepInput, stage_id, step_id};
use super::refuse::{failed, invalid, refused};
use super::watch::Watcher;
use crate::claim::{Claim, Protocol};
use crate::identity::{Identity, renew_certificate};
use crate::notices::Notices;
use crate::start_up::StartUp;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers runners. Clones answer for the same machine.
#[derive(Clone, Debug)]
pub struct Service {
    engine: Arc<Engine>,
    identity: Identity,
    digests: Arc<Digests>,
    claim: Claim,
    notices: Notices,
    /// Where steps work.
    disk: PathBuf,
    start_up: StartUp,
    closing: CancellationToken,
}

impl Service {
    pub(super) fn new(
        engine: Arc<Engine>,
        identity: Identity,
        digests: Arc<Digests>,
        claim: Claim,
        notices: Notices,
        disk: PathBuf,
    ) -> Self {
        Self {
            engine,
            identity,
            digests,
            claim,
            notices,
            disk,
            start_up: StartUp::default(),
            closing: CancellationToken::new(),
        }
    }

    /// The same, whose calls that have no end of their own end with `closing`.
    #[must_use]
    pub fn until(self, closing: CancellationToken) -> Self {
        Self { closing, ..self }
    }

    /// The same, which is ready once the machine's start-up is over.
    #[must_use]
    pub fn after(self, start_up: StartUp) -> Self {
        Self { start_up, ..self }
    }

    /// Whether there is such a step, and its log has come to `offset`.
    fn attach(&self, followed: &Followed, offset: u64) -> Result<(), Refusal> {
        let Followed { stage, step, .. } = followed;
        self.engine
            .look(|rules| match rules.attach(stage, step)?.log_end() {
                log_end if log_end >= offset => Ok(()),
                log_end => Err(Refusal::BeyondLog {
                    step: step.clone(),
                    offset,
                    log_end,
                }),
            })
    }

    /// A call that may have to be durable before it is answered.
    async fn durably(
        &self,
        call: impl FnOnce(&Arc<Engine>) -> Result<(), CallError> + Send + 'static,
    ) -> Result<(), Status> {
        let engine = self.engine.clone();
        let called = tokio::task::spawn_blocking(move || call(&engine)).await;
        called.map_err(|error| failed(&error))?.map_err(status)
    }
}

#[tonic::async_trait]
impl Agent for Service {
    async fn open(
        &self,
        request: Request<proto::OpenRequest>,
    ) -> Result<Response<proto::Report>, Status> {
        let term = Term(request.into_inner().term);
        self.durably(move |engine| engine.call(Call::Open { term }))
            .await?;
        let phases = self.start_up.look();
        let phases = phases.map_err(|error| Status::unavailable(error.to_string()))?;
        let boot = phases.into_iter().map(boot_phase).collect();
        let report = self.engine.look(report);
        Ok(Response::new(proto::Report { boot, ..report }))
    }

    async fn renew(
        &self,
        request: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::RenewResponse>, Status> {
        let term = Term(request.into_inner().term);
        self.engine.call(Call::Renew { term }).map_err(status)?;
        Ok(Response::new(proto::RenewResponse {}))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let request = request.into_inner();
        let stage = stage_id(&request.stage_id)?;
        let call = Call::Prepare {
            term: Term(request.term),
            stage: stage.clone(),
            lasts: Duration::from_millis(request.deadline_ms),
            content: self.digests.prepare(&request),
        };
        let input = StageInput::of(request)?;
        let claimed = self.claim.take(Protocol::Ours);
        claimed.map_err(|taken| Status::failed_precondition(taken.to_string()))?;
        self.durably(move |engine| engine.prepare(call, input))
            .await?;
        let settled = self.engine.until(|rules| match rules.stage()?.1 {
            StagePhase::Prepared => Some(Ok(())),
            StagePhase::PrepareFailed { reason } => Some(Err(Status::internal(reason))),
            phase if phase.has_ended() => Some(Err(refused(&Refusal::StageEnded {
                stage: stage.clone(),
            }))),
            _ => None,
        });
        settled.await?;
        let workdir = self.engine.workdir().unwrap_or_default();
        Ok(Response::new(proto::PrepareResponse {
            workdir: workdir.display().to_string(),
        }))
    }

    type RunStream = Answers<proto::RunEvent>;

    async fn run(
        &self,
        request: Request<Streaming<proto::RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.kind);
        let (followed, offset) = match first {
            Some(Kind::Start(request)) => {
                let followed = Followed {
                    term: Term(request.term),
                    stage: stage_id(&request.stage_id)?,
                    step: step_id(&request.step_id)?,
                };
                let offset = request.log_offset;
                let call = Call::Start {
                    term: followed.term,
                    stage: followed.stage.clone(),
                    step: followed.step.clone(),
                    content: self.digests.start(&request),
                };
                let input = StepInput::of(request)?;
                match self.attach(&followed, offset) {
                    Err(beyond @ Refusal::BeyondLog { .. }) => return Err(refused(&beyond)),
                    Err(Refusal::UnknownStep { step, .. }) if offset > 0 => {
                        return Err(refused(&Refusal::BeyondLog {
                            step,
                            offset,
                            log_end: 0,
                        }));
                    }
                    // Of anything else the call itself says what is wrong.
                    _ => {}
                }
                self.engine.start(call, input).map_err(status)?;
                (followed, offset)
            }
            Some(Kind::Attach(request)) => {
                let followed = Followed {
                    term: Term(request.term),
                    stage: stage_id(&request.stage_id)?,
                    step: step_id(&request.step_id)?,
                };
                let attached = self.attach(&followed, request.log_offset);
                attached.map_err(|refusal| refused(&refusal))?;
                (followed, request.log_offset)
            }
            _ => {
                let why = "the first request starts a step or attaches to one";
                return Err(invalid("kind", why));
            }
        };
        let events = follow(self.engine.clone(), followed, offset, requests);
        Ok(Response::new(events.boxed()))
    }

    async fn cancel(
        &self,
        request: Request<proto::CancelRequest>,
    ) -> Result<Response<proto::CancelResponse>, Status> {
        let request = request.into_inner();
        let call = Call::Cancel {
            term: Term(request.term),
            stage: stage_id(&request.stage_id)?,
            step: step_id(&request.step_id)?,
        };
        self.engine.call(call).map_err(status)?;
        Ok(Response::new(proto::CancelResponse {}))
    }

    async fn hold(
        &self,
        request: Request<proto::HoldRequest>,
    ) -> Result<Response<proto::HoldResponse>, Status> {
        let request = request.into_inner();
        let call = Call::Hold {
            term: Term(request.term),
            stage: stage_id(&request.stage_id)?,
            lasts: Duration::from_millis(request.lasts_ms),
        };
        self.engine.call(call).map_err(status)?;
        Ok(Response::new(proto::HoldResponse {}))
    }

    async fn cleanup(
        &self,
        request: Request<proto::CleanupRequest>,
    ) -> Result<Response<proto::CleanupResponse>, Status> {
        let request = request.into_inner();
        let call = Call::Cleanup {
            term: Term(request.term),
            stage: stage_id(&request.stage_id)?,
        };
        self.engine.call(call).map_err(status)?;
        let settled = self.engine.until(|rules| match rules.stage()?.1 {
            StagePhase::Ended => Some(Ok(())),
            StagePhase::Unclean { reason } => Some(Err(Status::internal(reason))),
            _ => None,
        });
        settled.await?;
        Ok(Response::new(proto::CleanupResponse {}))
    }

    type WatchStream = Answers<proto::WatchEvent>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let every_ms = request.into_inner().every_ms;
        let (notices, closing) = (self.notices.watch(), self.closing.clone());
        let watcher = Watcher::new(every_ms, self.disk.clone(), notices, closing);
        Ok(Response::new(watcher.events().boxed()))
    }

    type RenewCertificateStream = Answers<proto::RenewCertificateResponse>;

    async fn renew_certificate(
        &self,
        request: Request<Streaming<proto::RenewCertificateRequest>>,
    ) -> Result<Response<Self::RenewCertificateStream>, Status> {
        let engine = self.engine.clone();
        let fence = move |term| {
            engine
                .call(Call::Renew { term: Term(term) })
                .map_err(status)
        };
        let answers = renew_certificate(self.identity.clone(), request.into_inner(), fence);
        Ok(Response::new(answers.boxed()))
    }
}

/// What the agent says of itself.
fn report(rules: &Rules) -> proto::Report {
    let stage = rules.stage();
    let steps = rules.steps().map(|(id, step)| proto::StepReport {
        id: id.as_str().to_owned(),
        log_end: step.log_end(),
        ended: step.outcome().map(to_wire),
    });
    proto::Report {
        term: rules.term().map(|term| term.0),
        stage_id: stage.map(|(id, _)| id.as_str().to_owned()),
        prepared: stage.is_some_and(|(_, phase)| *phase == StagePhase::Prepared),
        ended: stage.is_some_and(|(_, phase)| phase.has_ended()),
        steps: steps.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: Vec::new(),
    }
}

fn boot_phase(phase: BootPhase) -> proto::BootPhase {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    proto::BootPhase {
        name: phase.name,
        began_ms_ago: ms(phase.began_ago),
        took_ms: ms(phase.took),
    }
}

/// A call that the engine did not take, as the runner sees it.
pub(super) fn status(error: CallError) -> Status {
    match error {
        CallError::Refused(refusal) => refused(&refusal),
        CallError::NotDurable(error) => failed(&error),
    }
}
