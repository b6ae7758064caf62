//! A runner that is asked over `vmpool.v1`.
//!
//! One that hands over, or is replaced, answers UNAVAILABLE: whoever takes its
//! place listens on the same socket, so the question is asked again there.

use std::time::Duration;

use anyhow::anyhow;
use http::Uri;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use vmpool_proto::v1::runner_client::RunnerClient;
use vmpool_proto::v1::{
    CancelStageRequest, CancelStepRequest, CordonRequest, ExplainRequest, ExplainResponse,
    FillRequest, HoldRequest, HoldResponse, LedgerLine, LedgerRequest, LogPart, LogRequest, Pool,
    ReleaseHoldRequest, StagesRequest, StagesResponse, StatusRequest, StatusResponse, SweepRequest,
    SweepResponse, WatchRequest,
};

use super::keys::{KeyArgs, Keys};
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::screen::printable;

/// How long a runner may take to be there.
const CONNECTING: Duration = Duration::from_secs(5);

/// How often one that is silent is asked whether it is there, and how long it
/// may take to say so.
const PING: Duration = Duration::from_secs(5);

/// How long an answer may take that needs no provider.
const ANSWERING: Duration = Duration::from_secs(60);

/// A sweep asks the providers, and may end many machines.
const SWEEPING: Duration = Duration::from_mins(30);

/// A question is asked so often of runners that hand over, with a pause between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// The largest answer: the status of tens of thousands of machines.
const MOST_BYTES: usize = 64 << 20;

/// Lines of a ledger that are taken at once.
const LINES: usize = 500;

/// Why a runner is not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    /// The URL can't be used.
    #[error("{url:?} is no address of a runner: {why}")]
    Url { url: String, why: String },
    /// Nobody listens there.
    #[error(
        "no runner answers at {url}: {why}; start one with `vmpool serve`, name another with \
         --runner URL, or read its journal with --state DIR"
    )]
    Nobody { url: String, why: String },
}

/// A runner that was reached.
#[derive(Debug, Clone)]
pub(crate) struct RunnerSource {
    url: String,
    endpoint: Endpoint,
    keys: Keys,
    first: Channel,
}

/// Its ledger.
#[derive(Debug)]
pub(crate) struct LedgerOfRunner {
    url: String,
    lines: Streaming<LedgerLine>,
}

impl RunnerSource {
    /// Connects to the runner at `url`, and shows it these keys; `http://` may be left out.
    ///
    /// # Errors
    /// It can't be reached: the program ends with the code for that.
    pub(crate) async fn connect(url: &str, keys: &KeyArgs) -> Result<Self, Stopped> {
        Self::reach(url, keys).await.map_err(|error| Stopped {
            exit: match error {
                Unreached::Url { .. } => Exit::BadInput,
                Unreached::Nobody { .. } => Exit::NoRunner,
            },
            error: error.into(),
        })
    }

    /// The same, for who does something else where there is none.
    ///
    /// # Errors
    /// It can't be reached.
    pub(crate) async fn reach(url: &str, keys: &KeyArgs) -> Result<Self, Unreached> {
        let (url, endpoint) = endpoint(url)?;
        let speaks_tls = url.starts_with("https://");
        let keys = keys.read(speaks_tls);
        let keys = keys.map_err(|error| Unreached::from((url.clone(), error)))?;
        let first = match keys.connect(&endpoint).await {
            Ok(channel) => channel,
            Err(error) => {
                let why = innermost(&error);
                return Err(Unreached::Nobody { url, why });
            }
        };
        Ok(Self {
            url,
            endpoint,
            keys,
            first,
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its id.
    pub(super) async fn id(&self) -> Result<String, Stopped> {
        Ok(self.status(None).await?.runner_id)
    }

    pub(super) async fn status(&self, pool: Option<&str>) -> Result<StatusResponse, Stopped> {
        let request = StatusRequest {
            pool: pool.unwrap_or_default().to_owned(),
        };
        self.ask(ANSWERING, request, async |client, request| {
            client.status(request).await
        })
        .await
    }

    pub(super) async fn explain(&self, subject: &str) -> Result<ExplainResponse, Stopped> {
        let request = ExplainRequest {
            subject: subject.to_owned(),
        };
        self.ask(ANSWERING, request, async |client, request| {
            client.explain(request).await
        })
        .await
    }

    /// Has the runner sweep.
    ///
    /// # Errors
    /// It did not, or not to the end.
    pub(crate) async fn sweep(&self, request: SweepRequest) -> Result<SweepResponse, Stopped> {
        self.ask(SWEEPING, request, async |client, request| {
            client.sweep(request).await
        })
        .await
    }

    pub(super) async fn stages(&self, pool: Option<&str>) -> Result<StagesResponse, Stopped> {
        let request = StagesRequest {
            pool: pool.unwrap_or_default().to_owned(),
        };
        self.ask(ANSWERING, request, async |client, request| {
            client.stages(request).await
        })
        .await
    }

    /// A pool that the runner must know.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub(crate) async fn pool(&self, name: &str) -> Result<Pool, Stopped> {
        let status = self.status(Some(name)).await?;
        let pool = status.pools.into_iter().next();
        pool.ok_or_else(|| self.refused(&Status::not_found(format!("there is no pool {name}"))))
    }

    /// Has a pool take no new stages.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn cordon(&self, request: CordonRequest) -> Result<Pool, Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.cordon(request).await
        })
        .await
    }

    /// Has a pool take stages again.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn fill(&self, request: FillRequest) -> Result<Pool, Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.fill(request).await
        })
        .await
    }

    /// Ends a stage.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn cancel_stage(&self, request: CancelStageRequest) -> Result<(), Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.cancel_stage(request).await
        })
        .await
        .map(drop)
    }

    /// Ends a step.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn cancel_step(&self, request: CancelStepRequest) -> Result<(), Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.cancel_step(request).await
        })
        .await
        .map(drop)
    }

    /// Keeps a stage's machine.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn hold(&self, request: HoldRequest) -> Result<HoldResponse, Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.hold(request).await
        })
        .await
    }

    /// Keeps it no longer.
    ///
    /// # Errors
    /// It was not done.
    pub(crate) async fn release_hold(&self, request: ReleaseHoldRequest) -> Result<(), Stopped> {
        self.ask(ANSWERING, request, async |client, request| {
            client.release_hold(request).await
        })
        .await
        .map(drop)
    }

    /// A step's log, over a connection of its own.
    ///
    /// # Errors
    /// Nobody is there, or there is no such step.
    pub(crate) async fn log(&self, request: LogRequest) -> Result<Streaming<LogPart>, Status> {
        let channel = self.keys.connect(&self.endpoint).await;
        let channel = channel.map_err(|error| Status::unavailable(innermost(&error)))?;
        let mut request = Request::new(request);
        self.keys.show(&mut request);
        Ok(client(channel).log(request).await?.into_inner())
    }

    /// An answer that is none, as the program's end.
    pub(crate) fn refused(&self, status: &Status) -> Stopped {
        refused(&self.url, status)
    }

    pub(super) async fn ledger(&self, pool: Option<&str>) -> Result<LedgerOfRunner, Stopped> {
        let request = LedgerRequest {
            pool: pool.unwrap_or_default().to_owned(),
        };
        // It takes as long as it is read.
        let lines = self
            .ask(SWEEPING, request, async |client, request| {
                client.ledger(request).await
            })
            .await?;
        Ok(LedgerOfRunner {
            url: self.url.clone(),
            lines,
        })
    }

    /// The pools whenever they change, over a connection of its own.
    ///
    /// # Errors
    /// Nobody is there, or it refuses.
    pub(crate) async fn watch(
        &self,
        pool: Option<&str>,
    ) -> Result<Streaming<StatusResponse>, Status> {
        let channel = self.keys.connect(&self.endpoint).await;
        let channel = channel.map_err(|error| Status::unavailable(innermost(&error)))?;
        let mut request = Request::new(WatchRequest {
            pool: pool.unwrap_or_default().to_owned(),
        });
        self.keys.show(&mut request);
        let watch = client(channel).watch(request).await?;
        Ok(watch.into_inner())
    }

    async fn ask<Q: Clone, A>(
        &self,
        patience: Duration,
        question: Q,
        mut call: impl AsyncFnMut(
            &mut RunnerClient<Channel>,
            Request<Q>,
        ) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, Stopped> {
        let mut channel = self.first.clone();
        for tried in 1.. {
            let mut request = Request::new(question.clone());
            request.set_timeout(patience);
            self.keys.show(&mut request);
            let status = match call(&mut client(channel), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if status.code() != Code::Unavailable || tried == TRIES {
                return Err(refused(&self.url, &status));
            }
            sleep(PAUSE).await;
            channel = match self.keys.connect(&self.endpoint).await {
                Ok(channel) => channel,
                Err(_) => return Err(refused(&self.url, &status)),
            };
        }
        unreachable!("the last try returns")
    }
}

impl LedgerOfRunner {
    pub(super) async fn next(&mut self) -> Result<Vec<LedgerLine>, Stopped> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let line = self.lines.message().await;
            match line.map_err(|status| refused(&self.url, &status))? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        Ok(lines)
    }
}

fn client(channel: Channel) -> RunnerClient<Channel> {
    RunnerClient::new(channel).max_decoding_message_size(MOST_BYTES)
}

/// The URL as it is shown, and how it is reached.
fn endpoint(url: &str) -> Result<(String, Endpoint), Unreached> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let wrong = |why: &str| Unreached::Url {
        url: url.to_owned(),
        why: why.to_owned(),
    };
    let uri: Uri = whole
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    // TLS is made where the connection is: to the library it is plain.
    let mut plain = uri.into_parts();
    plain.scheme = Some(http::uri::Scheme::HTTP);
    let plain = Uri::from_parts(plain).map_err(|error| wrong(&error.to_string()))?;
    let endpoint = Endpoint::from(plain)
        .connect_timeout(CONNECTING)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true);
    Ok((whole.trim_end_matches('/').to_owned(), endpoint))
}

/// The first cause, which says most: `Connection refused`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// An answer that is none.
fn refused(url: &str, status: &Status) -> Stopped {
    let told = printable(status.message());
    let (exit, error) = match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::OutOfRange => {
            (Exit::BadInput, anyhow!("{told}"))
        }
        // HTTP, but no gRPC; or not even that.
        Code::Unimplemented | Code::Unknown => (
            Exit::NoRunner,
            anyhow!("what answers at {url} is no runner's --grpc-listen"),
        ),
        Code::Unauthenticated | Code::PermissionDenied => (
            Exit::BadInput,
            anyhow!("the runner at {url}: {told}; a token is shown with --token-file FILE"),
        ),
        Code::Unavailable => (Exit::NoRunner, anyhow!("the runner at {url}: {told}")),
        Code::DeadlineExceeded => (
            Exit::NoRunner,
            anyhow!("the runner at {url} does not answer in time"),
        ),
        // So does a runner's --listen, which takes this for no HTTP.
        Code::Cancelled => (
            Exit::NoRunner,
            anyhow!(
                "what answers at {url} broke the connection: is that a runner's --grpc-listen?"
            ),
        ),
        Code::FailedPrecondition => (Exit::Failed, anyhow!("{told}")),
        code => (
            Exit::Failed,
            anyhow!("the runner at {url}: {code:?}: {told}"),
        ),
    };
    Err::<(), _>(error).or_exit(exit).expect_err("it is one")
}
