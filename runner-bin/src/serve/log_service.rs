//! Logs for the incumbent's log service: what the init phase says, and what
//! steps print, live and then whole.
//!
//! A setup names the service; what it names is kept beside the stage's logs, by
//! the stage's end at the latest no more, so that any runner of the deployment
//! can go on. Nobody waits for any of it: each log has a task of its own, of
//! which there are so many at most; beyond, a log is on the runner's disk only.
//! A service that is away or refuses fails no build, and is told in our log.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lite_engine::livelog::{Assembler, Client, ClientConfig, ClientError, History, Line, Pace};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use vmpool_core::runner::Runner;
use vmpool_core::{StageId, StepId};

use super::logs::FileLogs;
use super::wire::{Answer, LogTarget};

/// Logs that are sent at the same time.
const MOST: usize = 2_000;

/// Stages whose target is kept in memory, too.
const MOST_KNOWN: usize = 10_000;

/// Bytes of a log that are read at once.
const CHUNK: usize = 256 << 10;

/// Without news from the log, its step's end is looked for so often.
const LOOK: Duration = Duration::from_secs(5);

/// A setup whose end nobody tells is given up after this.
const LONGEST_SETUP: Duration = Duration::from_mins(30);

/// Sends logs. A handle: clones are the same.
#[derive(Debug, Clone)]
pub(super) struct LogService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    logs: FileLogs,
    tasks: TaskTracker,
    /// Of the stages that this process has seen lately.
    targets: Mutex<HashMap<StageId, Arc<LogTarget>>>,
    sending: Mutex<HashSet<(StageId, Option<StepId>)>>,
}

/// Tells a log's task that there will be no more of it. Dropped without a
/// word, it says nothing.
#[derive(Debug)]
pub(super) struct Telling<T>(Option<oneshot::Sender<T>>);

impl<T> Telling<T> {
    fn none() -> Self {
        Self(None)
    }

    pub(super) fn over(self, how: T) {
        if let Some(told) = self.0 {
            // The task may have given up.
            let _ = told.send(how);
        }
    }
}

impl LogService {
    pub(super) fn new(logs: FileLogs) -> Self {
        Self(Arc::new(Inner {
            logs,
            tasks: TaskTracker::new(),
            targets: Mutex::default(),
            sending: Mutex::default(),
        }))
    }

    /// A setup begins, whose caller wants logs there.
    pub(super) fn sets_up(
        &self,
        stage: &StageId,
        pool: &str,
        target: &LogTarget,
    ) -> Telling<Answer> {
        let target = Arc::new(target.clone());
        if target.key.is_empty() {
            return Telling::none();
        }
        let first = format!("Waiting for a machine of pool {pool}");
        let begun = Instant::now();
        self.begin(stage, None, async move |ended| {
            let mut log = Remote::open(&target, &target.key).await?;
            log.say(first).await;
            let end = match timeout(LONGEST_SETUP, ended).await {
                Ok(Ok(answer)) => told(&answer, begun.elapsed()),
                _ => "The caller did not wait for the machine".to_owned(),
            };
            log.say(end).await;
            log.close().await
        })
    }

    /// The stage is set up: the logs of its steps are wanted there, too. Never
    /// before, since who may not have the stage must not have its logs (P12).
    pub(super) fn keeps(&self, stage: &StageId, target: &LogTarget) {
        let target = Arc::new(target.clone());
        self.know(stage, &target);
        self.keep_target(stage, &target);
    }

    /// A step is asked for, whose log is wanted under this key.
    pub(super) fn follows(
        &self,
        runner: Option<Runner>,
        stage: &StageId,
        step: &StepId,
        key: &str,
    ) -> Telling<()> {
        if key.is_empty() {
            return Telling::none();
        }
        let Some(target) = self.target(stage) else {
            return Telling::none();
        };
        let (logs, key) = (self.0.logs.clone(), key.to_owned());
        let (of, id) = (stage.clone(), step.clone());
        self.begin(stage, Some(step), async move |ended| {
            let mut log = Remote::open(&target, &key).await?;
            let mut following = Following {
                logs,
                runner,
                stage: of,
                step: id,
                offset: 0,
            };
            following.send(&mut log, ended).await;
            log.close().await
        })
    }

    /// The stage is over: nobody needs its token any more.
    pub(super) fn ends(&self, stage: &StageId) {
        self.0.targets.lock().remove(stage);
        let path = self.0.logs.target_path(stage);
        self.0.tasks.spawn_blocking(move || fs::remove_file(path));
    }

    fn begin<T: Send + 'static, W>(
        &self,
        stage: &StageId,
        step: Option<&StepId>,
        work: impl FnOnce(oneshot::Receiver<T>) -> W + Send + 'static,
    ) -> Telling<T>
    where
        W: Future<Output = Result<(), ClientError>> + Send,
    {
        let id = (stage.clone(), step.cloned());
        {
            let mut sending = self.0.sending.lock();
            // A retry finds its log on the way already.
            if sending.len() >= MOST || !sending.insert(id.clone()) {
                return Telling::none();
            }
        }
        let (telling, ended) = oneshot::channel();
        let sending = Sending {
            service: self.clone(),
            id,
        };
        self.0.tasks.spawn(async move {
            let (stage, step) = &sending.id;
            if let Err(error) = work(ended).await {
                let error = error.to_string();
                tracing::warn!(%stage, ?step, error, "a log did not get to the log service");
            }
        });
        Telling(Some(telling))
    }

    fn target(&self, stage: &StageId) -> Option<Arc<LogTarget>> {
        if let Some(known) = self.0.targets.lock().get(stage) {
            return Some(known.clone());
        }
        let bytes = fs::read(self.0.logs.target_path(stage)).ok()?;
        let target: Arc<LogTarget> = Arc::new(serde_json::from_slice(&bytes).ok()?);
        self.know(stage, &target);
        Some(target)
    }

    fn know(&self, stage: &StageId, target: &Arc<LogTarget>) {
        let mut targets = self.0.targets.lock();
        if targets.len() >= MOST_KNOWN {
            // Some ended without a word. Those of the others are read again.
            targets.clear();
        }
        targets.insert(stage.clone(), target.clone());
    }

    /// For the next process, and for the other runners.
    fn keep_target(&self, stage: &StageId, target: &Arc<LogTarget>) {
        let (path, target) = (self.0.logs.target_path(stage), target.clone());
        let of = stage.clone();
        self.0.tasks.spawn_blocking(move || {
            if let Err(error) = super::logs::write_private(&path, &target) {
                tracing::warn!(stage = %of, %error, "where a stage's logs are wanted was not kept");
            }
        });
    }
}

/// Frees a log's place.
struct Sending {
    service: LogService,
    id: (StageId, Option<StepId>),
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.service.0.sending.lock().remove(&self.id);
    }
}

/// How a setup went, for who reads the build's log.
fn told(answer: &Answer, took: Duration) -> String {
    if answer.status.is_success() {
        let machine = serde_json::from_slice::<serde_json::Value>(&answer.body);
        let machine = machine.unwrap_or_default();
        let machine = machine["instance_id"].as_str().unwrap_or("?");
        format!(
            "Machine {machine} is ready after {:.1} s",
            took.as_secs_f64()
        )
    } else {
        format!(
            "No machine after {:.1} s: {}",
            took.as_secs_f64(),
            answer.error()
        )
    }
}

/// A log at the service.
struct Remote {
    client: Client,
    key: String,
    trim: bool,
    /// The live stream is no more, so only the whole log will be there.
    broken: Option<ClientError>,
    history: History,
    next: u64,
}

impl Remote {
    async fn open(target: &LogTarget, key: &str) -> Result<Self, ClientError> {
        let client = Client::new(ClientConfig {
            url: target.url.clone(),
            account: target.account.clone(),
            token: target.token.clone(),
            indirect: target.indirect,
            pace: Pace {
                call: Duration::from_secs(5),
                tries: 4,
                ..Pace::default()
            },
        })?;
        let broken = client.open(key).await.err();
        Ok(Self {
            client,
            key: key.to_owned(),
            trim: target.trim,
            broken,
            history: History::new(target.trim),
            next: 0,
        })
    }

    /// A line of our own.
    async fn say(&mut self, text: String) {
        let line = Line {
            pos: self.next,
            out: format!("{text}\n"),
            at: SystemTime::now(),
        };
        self.next += 1;
        self.add(&[line]).await;
    }

    async fn add(&mut self, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        for line in lines {
            self.history.add(line);
        }
        if self.broken.is_none() {
            let sent = self.client.append(&self.key, lines, self.trim).await;
            self.broken = sent.err();
        }
    }

    async fn close(self) -> Result<(), ClientError> {
        let uploaded = self.client.upload(&self.key, self.history.blob()).await;
        let closed = self.client.close(&self.key, false).await;
        self.broken.map_or(Ok(()), Err).and(uploaded).and(closed)
    }
}

/// A step's log on its way.
struct Following {
    logs: FileLogs,
    runner: Option<Runner>,
    stage: StageId,
    step: StepId,
    offset: u64,
}

impl Following {
    async fn send(&mut self, log: &mut Remote, mut ended: oneshot::Receiver<()>) {
        let mut lines = Assembler::default();
        let mut is_over = false;
        let mut is_told = false;
        loop {
            let until = Instant::now() + if is_over { Duration::ZERO } else { LOOK };
            let more = self
                .logs
                .read_more(&self.stage, &self.step, self.offset, CHUNK, until);
            let part = tokio::select! {
                biased;
                told = &mut ended, if !is_told => {
                    // Nobody waits any more, or it is over: the log is whole then.
                    is_told = true;
                    is_over = told.is_ok();
                    continue;
                }
                part = more => part,
            };
            let Ok(part) = part else { break };
            if part.bytes.is_empty() {
                if is_over {
                    break;
                }
                is_over = is_told && self.has_ended().await;
                continue;
            }
            self.offset += part.bytes.len() as u64;
            let mut ready = Vec::new();
            lines.push(&part.bytes, SystemTime::now(), |line| ready.push(line));
            log.add(&ready).await;
        }
        let last = lines.finish(SystemTime::now());
        log.add(last.as_slice()).await;
    }

    /// As the journal has it. Where that can't be asked, the log ends here.
    async fn has_ended(&self) -> bool {
        let Some(runner) = &self.runner else {
            return true;
        };
        let Ok(Some(record)) = runner.journal().stage(&self.stage).await else {
            return true;
        };
        let step = record.steps.iter().find(|row| row.id == self.step);
        record.stage.state.is_ended() || step.is_none_or(|row| row.outcome.is_some())
    }
}
