//! The incumbent's routes beside our own protocol, on one port: the kind of a
//! request's content says whose it is.
//!
//! Who may connect at all is [`crate::listener`]'s part: here, too, only runners
//! of the deployment. The desk is opened by the first request that makes the
//! machine a stage's; a machine that never gets one pays nothing for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service;

use super::desk::{Desk, DeskConfig};
use super::refused::Refused;
use super::routes::{self, Desks};
use super::socket;
use crate::agent::chain;
use crate::claim::{Claim, Protocol};

/// How long all steps together have to end when the machine does.
const LAST_KILL: Duration = Duration::from_secs(5);

/// A machine that either protocol may take.
#[derive(Debug)]
pub(crate) struct Machine {
    claim: Claim,
    config: DeskConfig,
    desk: Mutex<Option<Desk>>,
}

impl Machine {
    /// Takes up the stage of the incumbent's protocol that is on the disk, if
    /// there is one. Within a tokio runtime.
    pub(crate) fn new(claim: Claim, config: DeskConfig) -> Arc<Self> {
        let taken = config.dir.join("stages").exists();
        let machine = Arc::new(Self {
            claim,
            config,
            desk: Mutex::default(),
        });
        if taken && let Err(refused) = machine.desk(true) {
            tracing::error!(error = refused.message, "the incumbent's stage");
        }
        machine
    }

    /// Kills what runs, because the machine ends.
    pub(crate) async fn kill_all(&self) {
        let desk = self.desk.lock().clone();
        if let Some(desk) = desk {
            let _ = timeout(LAST_KILL, desk.destroy()).await;
        }
    }

    /// Stops answering. The steps run on.
    pub(crate) async fn close(&self) {
        let desk = self.desk.lock().clone();
        if let Some(desk) = desk {
            desk.close().await;
        }
    }
}

impl Desks for Arc<Machine> {
    fn desk(&self, begins: bool) -> Result<Desk, Refused> {
        if begins {
            let claimed = self.claim.take(Protocol::Incumbents);
            claimed.map_err(|taken| Refused::new(StatusCode::CONFLICT, taken.to_string()))?;
        } else if !self.claim.is_of(Protocol::Incumbents) {
            return Err(Refused::bad("no stage was set up by this protocol"));
        }
        let mut desk = self.desk.lock();
        if let Some(desk) = &*desk {
            return Ok(desk.clone());
        }
        let opened = Desk::open(self.config.clone());
        let opened = opened.map_err(|error| Refused::failed(chain(&error)))?;
        if let Err(error) = socket::open(&opened) {
            tracing::warn!(
                error = chain(&error),
                "steps get no tokens of their identities"
            );
        }
        Ok(desk.insert(opened).clone())
    }

    fn connectivity(&self) -> &str {
        &self.config.connectivity
    }
}

/// Both protocols, as what serves connections takes them.
#[derive(Clone, Debug)]
pub(crate) struct Beside<S> {
    pub(crate) ours: S,
    pub(crate) machine: Arc<Machine>,
}

impl<S> Service<Request<Incoming>> for Beside<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ours.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if is_grpc(request.headers()) {
            return Box::pin(self.ours.call(request));
        }
        let machine = self.machine.clone();
        Box::pin(async move {
            let answer = routes::answer(&machine, request).await;
            answer.map(|answer| answer.map(Body::new))
        })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    async fn ask(machine: &Arc<Machine>, path: &str, body: &'static str) -> (u16, String) {
        let request = Request::post(path).body(Full::from(Bytes::from_static(body.as_bytes())));
        let answer = routes::answer(machine, request.expect("a request")).await;
        let (head, body) = answer.expect("never fails").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        (
            head.status.as_u16(),
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    fn machine(folder: &tempfile::TempDir, claim: &Claim) -> Arc<Machine> {
        let dir = folder.path().join("compat");
        let config = DeskConfig {
            shared: dir.join("shared"),
            environment: std::collections::BTreeMap::new(),
            workdir: "/".into(),
            mint_url: String::new(),
            docker: String::new(),
            connectivity: String::new(),
            one_stage: true,
            holder_program: "/proc/self/exe".into(),
            dir,
        };
        Machine::new(claim.clone(), config)
    }

    const SETUP: &str = r#"{"mount_docker_socket":false}"#;

    #[tokio::test]
    async fn p2_the_incumbents_stage_keeps_ours_away_also_after_a_restart() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let claim = Claim::default();
        let first = machine(&folder, &claim);
        assert_eq!(ask(&first, "/destroy", "{}").await.0, 400);
        claim.take(Protocol::Incumbents).expect("nobody has it yet");
        assert_eq!(ask(&first, "/setup", SETUP).await.0, 200);
        first.close().await;

        let claim = Claim::default();
        let second = machine(&folder, &claim);
        claim.take(Protocol::Ours).expect_err("it is taken");
        assert_eq!(ask(&second, "/destroy", "{}").await.0, 200);
        let (status, told) = ask(&second, "/setup", SETUP).await;
        assert_eq!(status, 409);
        assert!(told.contains("has served its stage"), "{told}");
        second.close().await;
    }

    #[tokio::test]
    async fn p2_our_stage_keeps_the_incumbents_away() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let claim = Claim::default();
        claim.take(Protocol::Ours).expect("nobody has it yet");
        let machine = machine(&folder, &claim);
        let (status, told) = ask(&machine, "/setup", SETUP).await;
        assert_eq!(status, 409);
        assert!(told.contains("vmpool's own protocol"), "{told}");
        assert!(!folder.path().join("compat").exists());
    }
}
