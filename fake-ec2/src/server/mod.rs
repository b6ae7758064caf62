//! The cloud over HTTP, and its hands: the one task that lets time happen and
//! tells [`Machines`] what to do.
//!
//! One address serves EC2 (`AWS_ENDPOINT_URL_EC2`), SSM, STS and Service Quotas
//! by what a request looks like, and the fake's own door under `/_fake/`.

mod admin;
mod aws;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::cloud::{Cloud, Config};
use crate::faults::Rule;
use crate::machines::{Effect, Machines};
use crate::policy::Policy;

/// A fake EC2 that listens. Dropped, it ends at once; [`FakeEc2::stop`] also
/// waits for its tasks, and ends its machines.
#[derive(Debug)]
pub struct FakeEc2 {
    address: SocketAddr,
    control: Control,
    machines: Hands,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Hands(Arc<dyn Machines>);

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("machines")
    }
}

impl FakeEc2 {
    /// Starts to listen, and to let time happen.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn start(
        config: Config,
        clock: Clock,
        machines: Arc<dyn Machines>,
        listen: SocketAddr,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let control = Control(Arc::new(Shared {
            cloud: Mutex::new(Cloud::new(config)),
            clock,
            wake: Notify::new(),
        }));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(stop.clone().run_until_cancelled_owned({
            let (control, machines) = (control.clone(), Arc::clone(&machines));
            async move { control.live(machines.as_ref()).await }
        }));
        tasks.spawn(stop.clone().run_until_cancelled_owned(accept(
            listener,
            control.clone(),
            stop.clone(),
            tasks.clone(),
        )));
        Ok(Self {
            address,
            control,
            machines: Hands(machines),
            stop,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `AWS_ENDPOINT_URL_EC2` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The way to look into it and to break it.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Ends it, with its connections and its machines.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.machines.0.end().await;
    }
}

impl Drop for FakeEc2 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A running cloud, to look into and to break. Clones are the same cloud.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cloud: Mutex<Cloud>,
    clock: Clock,
    wake: Notify,
}

impl Control {
    /// Looks at or changes the cloud, with what is due by now done before.
    pub fn with<T>(&self, what: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let now = self.0.clock.now();
        let result = {
            let mut cloud = self.0.cloud.lock();
            cloud.run_until(now);
            what(&mut cloud, now)
        };
        self.0.wake.notify_one();
        result
    }

    /// The cloud's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Moves the clock, and lets happen what became due.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        self.with(|_, _| ());
    }

    /// Answers a request as if it had come over the wire: for tests whose time
    /// stands still while a wire is waited for.
    ///
    /// # Errors
    /// [`Lost`]: over a wire, the connection would have broken.
    ///
    /// # Cancel safety
    /// The call has arrived, and has its effect.
    pub async fn answer(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Lost> {
        let (head, body) = aws::answer(self, request.map(Body::from))
            .await?
            .into_parts();
        // It is whole in memory, so it can't break off.
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Ok(http::Response::from_parts(head, body))
    }

    /// Adds a fault.
    pub fn fault(&self, rule: Rule) {
        self.with(|cloud, _| cloud.faults.add(rule));
    }

    /// Sets what the principal of an access key may do.
    pub fn policy(&self, access_key: &str, policy: Policy) {
        self.with(|cloud, _| cloud.set_policy(access_key, policy));
    }

    /// The spot market takes instances back; `notice` absent: two minutes.
    pub fn reclaim<'a>(
        &self,
        instances: impl IntoIterator<Item = &'a str>,
        notice: Option<Duration>,
    ) {
        self.with(|cloud, now| {
            for instance in instances {
                cloud.reclaim(now, instance, notice);
            }
        });
    }

    /// Somebody terminates instances from the console.
    pub fn terminate<'a>(&self, instances: impl IntoIterator<Item = &'a str>) {
        self.with(|cloud, now| {
            for instance in instances {
                cloud.console_terminate(now, instance);
            }
        });
    }

    /// An instance's guest powered itself off.
    pub fn powered_off(&self, instance: &str) {
        self.with(|cloud, now| cloud.powered_off(now, instance));
    }

    /// An instance's guest printed something.
    pub fn console(&self, instance: &str, text: &[u8]) {
        self.with(|cloud, now| cloud.print(now, instance, text));
    }

    /// Lets things happen when they are due, for ever; machines do what the
    /// cloud has decided, in its order.
    async fn live(&self, machines: &dyn Machines) {
        loop {
            let (effects, due) = {
                let now = self.0.clock.now();
                let mut cloud = self.0.cloud.lock();
                cloud.run_until(now);
                let wait = cloud
                    .next_due()
                    .filter(|_| self.0.clock.runs())
                    .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
                (cloud.take_effects(), wait)
            };
            if effects.is_empty() {
                let wake = self.0.wake.notified();
                match due {
                    Some(wait) => tokio::select! {
                        () = wake => {}
                        () = tokio::time::sleep(wait) => {}
                    },
                    None => wake.await,
                }
            }
            for effect in effects {
                match effect {
                    Effect::Start(birth) => machines.start(*birth, self).await,
                    Effect::Stop {
                        instance,
                        hibernate,
                    } => machines.stop(&instance, hibernate).await,
                    Effect::Terminate { instance } => machines.terminate(&instance).await,
                    Effect::Notice { instance, at } => machines.notice(&instance, at).await,
                }
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    control: Control,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(stream, control.clone());
                tasks.spawn(stop.clone().run_until_cancelled_owned(served));
            }
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                // Out of descriptors: the next try would fail at once, too.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The answer is kept back, or the request never arrived: the connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, by the fault plan")]
pub struct Lost;

async fn serve(stream: TcpStream, control: Control) {
    let admin = admin::router(control.clone());
    let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (control, admin) = (control.clone(), admin.clone());
        async move {
            let request: Request = request.map(Body::new);
            if request.uri().path().starts_with("/_fake/") {
                let answer: Result<Response, Infallible> = admin.oneshot(request).await;
                return answer.map_err(|never| match never {});
            }
            aws::answer(&control, request).await
        }
    });
    let connection = auto::Builder::new(TokioExecutor::new());
    let served = connection
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended");
    }
}
