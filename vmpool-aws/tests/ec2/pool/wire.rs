//! The SDK's way to a fake EC2 without sockets: tokio's time can stand still,
//! and a runner can be killed in any of its calls.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use fake_ec2::{Control, State};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Half of the time that a call takes.
const ONE_WAY: Duration = Duration::from_millis(15);

/// Where in a call its runner is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// EC2 never heard of the call.
    Before,
    /// The runner never hears the answer.
    After,
}

/// Carries the SDK's calls to the fake, and counts what it sees. Clones are
/// the same wire.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    control: Control,
    seen: Mutex<Seen>,
    killed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    calls: u64,
    kill: Option<(u64, Moment)>,
    most: usize,
}

impl Wire {
    pub(super) fn new(control: Control) -> Self {
        Self(Arc::new(Inner {
            control,
            seen: Mutex::default(),
            killed: Notify::new(),
        }))
    }

    pub(super) fn client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.0.seen.lock().calls
    }

    /// The most machines that there ever were at once, by EC2's word.
    pub(super) fn most(&self) -> usize {
        self.0.seen.lock().most
    }

    /// From now on the call of this number never ends.
    pub(super) fn kill_in(&self, call: u64, moment: Moment) {
        self.0.seen.lock().kill = Some((call, moment));
    }

    /// Waits until that call is made.
    pub(super) async fn killed(&self) {
        self.0.killed.notified().await;
    }

    async fn carry(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let killed = {
            let mut seen = self.0.seen.lock();
            seen.calls += 1;
            let this = seen.calls;
            seen.kill.filter(|(call, _)| *call == this)
        };
        let other = |error| ConnectorError::other(error, None);
        let request = request.try_into_http1x().map_err(|e| other(e.into()))?;
        let request = request.map(|body| body.bytes().unwrap_or_default().to_vec().into());
        if matches!(killed, Some((_, Moment::Before))) {
            return self.kill().await;
        }
        tokio::time::sleep(ONE_WAY).await;
        let answer = self.0.control.answer(request).await;
        self.count();
        if killed.is_some() {
            return self.kill().await;
        }
        tokio::time::sleep(ONE_WAY).await;
        let answer = answer.map_err(|lost| ConnectorError::io(lost.into()))?;
        let answer = answer.map(|body| SdkBody::from(body.to_vec()));
        HttpResponse::try_from(answer).map_err(|e| other(e.into()))
    }

    async fn kill(&self) -> Result<HttpResponse, ConnectorError> {
        self.0.killed.notify_one();
        std::future::pending().await
    }

    fn count(&self) {
        let alive = self.0.control.with(|cloud, _| {
            let states = cloud.instances().map(|(_, _, instance)| instance.state);
            states.filter(|state| *state != State::Terminated).count()
        });
        let mut seen = self.0.seen.lock();
        seen.most = seen.most.max(alive);
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.carry(request).await })
    }
}
