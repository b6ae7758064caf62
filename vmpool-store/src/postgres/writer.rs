//! The writer: one task that hands all batches that wait to the database in
//! one statement, so that they share one round trip and one fsync.
//!
//! Each batch has an answer of its own. Nearly always it is the same for all:
//! they are [written together](super::together). Where one of them is refused
//! the statement is undone, and another finds out which. Where the database
//! undid that for one batch's sake, they are written one by one.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::task::TaskTracker;
use vmpool_core::journal::CommitError;

use super::doubt::{Backend, Doubts};
use super::error::{Meaning, meaning, told};
use super::sessions::{ANSWER, Sessions};
use super::together::{self, Together};
use super::wire::{self, Call};
use crate::measures::Measures;
use crate::record::BatchRecord;

/// How long a batch may wait for its turn. Its answer is there [`ANSWER`]
/// after that at the latest.
const PATIENCE: Duration = Duration::from_secs(10);
/// Batches that wait at most; more wait to wait.
const QUEUE: usize = 1_024;
/// Batches of one statement at most.
const GROUP: usize = 256;
/// Tries of a batch that others get in the way of.
const TRIES: usize = 5;

/// Hands batches to the task. Dropped, the task writes those that wait, and ends.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
    /// What is shown of the database.
    database: String,
}

#[derive(Debug)]
struct Job {
    batch: BatchRecord,
    deadline: Instant,
    reply: oneshot::Sender<Result<(), CommitError>>,
}

impl Writer {
    pub(super) fn start(sessions: Sessions, doubts: Arc<Doubts>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let database = sessions.address().to_string();
        let task = Task {
            sessions,
            doubts,
            session: None,
            measures: Measures::new(),
        };
        // It ends with its queue.
        TaskTracker::new().spawn(task.serve(waiting));
        Self { queue, database }
    }

    /// Writes a batch.
    ///
    /// # Cancel safety
    /// Once polled, the batch may be written though the future is dropped.
    pub(super) async fn write(&self, batch: BatchRecord) -> Result<(), CommitError> {
        let deadline = Instant::now() + PATIENCE;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            batch,
            deadline,
            reply,
        };
        let database = &self.database;
        match timeout_at(deadline, self.queue.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable(format!("the writer to {database} has ended"))),
            Err(_) => {
                let reason = format!("{QUEUE} writes to {database} wait already; it is too slow");
                return Err(unavailable(reason));
            }
        }
        // Every job is answered within the task's own bounds.
        answer.await.unwrap_or_else(|_| {
            Err(CommitError::Ambiguous {
                reason: format!("the writer to {database} has ended"),
            })
        })
    }
}

struct Task {
    sessions: Sessions,
    doubts: Arc<Doubts>,
    /// The one that it writes by.
    session: Option<(Object, Backend)>,
    measures: Measures,
}

/// What came of a statement.
enum Done {
    /// Answers, in the order of the batches.
    Answered(Vec<Result<(), CommitError>>),
    /// Nothing was written, and why.
    Undone(Meaning, String),
    /// It may have been written.
    Doubtful(String),
}

impl Task {
    async fn serve(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.recv().await {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            self.write(group).await;
        }
    }

    async fn write(&mut self, group: Vec<Job>) {
        let group = self.in_time(group);
        let begun = Instant::now();
        let done = self.statement(&group).await;
        let made = matches!(done, Done::Answered(_));
        self.measures.tried(group.len(), made, begun.elapsed());
        match done {
            Done::Answered(answers) => {
                for (job, answer) in group.into_iter().zip(answers) {
                    job.answer(answer);
                }
            }
            // One of them did it: the others are written without that one.
            Done::Undone(Meaning::Again | Meaning::Data, _) => {
                for job in group {
                    for job in self.in_time(vec![job]) {
                        self.alone(job).await;
                    }
                }
            }
            Done::Undone(_, reason) => {
                for job in group {
                    job.answer(Err(unavailable(reason.clone())));
                }
            }
            Done::Doubtful(reason) => {
                for job in group {
                    let reason = reason.clone();
                    job.answer(Err(CommitError::Ambiguous { reason }));
                }
            }
        }
    }

    /// Writes a batch by itself, again where others got in its way.
    async fn alone(&mut self, job: Job) {
        let alone = [job];
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match self.statement(&alone).await {
                Done::Answered(answers) => break answers.into_iter().collect(),
                Done::Undone(Meaning::Again, _) if tries < TRIES => {}
                Done::Undone(_, reason) => break Err(unavailable(reason)),
                Done::Doubtful(reason) => break Err(CommitError::Ambiguous { reason }),
            }
        };
        let [job] = alone;
        job.answer(answer);
    }

    /// Those whose time is not over; the others are answered.
    fn in_time(&self, group: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let (group, late): (Vec<_>, Vec<_>) = group.into_iter().partition(|job| job.deadline > now);
        for job in late {
            let database = self.sessions.address();
            job.answer(Err(unavailable(format!(
                "{database} had no time for it in {PATIENCE:?}"
            ))));
        }
        group
    }

    /// Writes a group in one transaction: in one go if nothing is refused, and
    /// else with an answer for each.
    async fn statement(&mut self, group: &[Job]) -> Done {
        if group.is_empty() {
            return Done::Answered(Vec::new());
        }
        if let Some(together) = Together::new(group.iter().map(|job| &job.batch)) {
            match self.ask(together::SQL, &together.params()).await {
                Ok(_) => return Done::Answered(group.iter().map(|_| Ok(())).collect()),
                Err(Done::Undone(Meaning::Again | Meaning::Data, _)) => {}
                Err(done) => return done,
            }
        }
        let call = match Call::new(group.iter().map(|job| &job.batch)) {
            Ok(call) => call,
            Err(error) => return Done::Undone(Meaning::Data, error.to_string()),
        };
        let sealed: Vec<&[u8]> = call.sealed.iter().map(|sealed| &**sealed).collect();
        let row = match self.ask(wire::SQL, &[&call.batches, &sealed]).await {
            Ok(row) => row,
            Err(done) => return done,
        };
        match row.try_get::<_, &str>(0).ok().map(wire::answers) {
            Some(Ok(answers)) if answers.len() == group.len() => {
                Done::Answered(self.told(group, answers))
            }
            _ => Done::Doubtful(self.reason("it gave an answer that makes no sense")),
        }
    }

    /// The one row of a statement, which is a transaction.
    async fn ask(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Done> {
        let unusable = |why| Done::Undone(Meaning::Undone, why);
        let (session, backend) = self.session().await.map_err(unusable)?;
        let prepared = timeout(ANSWER, session.prepare_cached(sql)).await;
        let statement = match prepared {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => {
                drop(Object::take(session));
                return Err(unusable(self.reason(&told(&error))));
            }
            Err(_) => {
                drop(Object::take(session));
                return Err(unusable(self.reason(&silent())));
            }
        };
        let written = timeout(ANSWER, session.query_one(&statement, params));
        let reason = match written.await {
            Ok(Ok(row)) => {
                self.session = Some((session, backend));
                return Ok(row);
            }
            Ok(Err(error)) => match meaning(&error) {
                Meaning::Doubtful => told(&error),
                undone => {
                    self.session = Some((session, backend));
                    return Err(Done::Undone(undone, self.reason(&told(&error))));
                }
            },
            Err(_) => silent(),
        };
        self.doubts.add(backend);
        drop(Object::take(session));
        Err(Done::Doubtful(self.reason(&reason)))
    }

    /// The session that is kept for this, or another one, with nothing in doubt.
    async fn session(&mut self) -> Result<(Object, Backend), String> {
        let kept = self.session.take();
        if let Some((session, backend)) = kept.filter(|(session, _)| !session.is_closed()) {
            return Ok((session, backend));
        }
        let session = self.sessions.settled(&self.doubts).await?;
        match timeout(ANSWER, Backend::of(&session)).await {
            Ok(Ok(backend)) => Ok((session, backend)),
            Ok(Err(error)) => Err(self.reason(&told(&error))),
            Err(_) => {
                drop(Object::take(session));
                Err(self.reason(&silent()))
            }
        }
    }

    fn told(
        &self,
        group: &[Job],
        answers: Vec<Option<wire::Refusal>>,
    ) -> Vec<Result<(), CommitError>> {
        let jobs = group.iter().zip(answers);
        jobs.map(|(job, answer)| match answer {
            None => Ok(()),
            Some(refusal) => Err(refusal
                .of(&job.batch)
                .unwrap_or_else(|| unavailable(self.reason("it refused a row that is not there")))),
        })
        .collect()
    }

    fn reason(&self, what: &str) -> String {
        format!("{}: {what}", self.sessions.address())
    }
}

impl Job {
    /// Nobody may be there any more to hear it.
    fn answer(self, answer: Result<(), CommitError>) {
        let _ = self.reply.send(answer);
    }
}

fn silent() -> String {
    format!("it gave no answer in {ANSWER:?}")
}

fn unavailable(reason: String) -> CommitError {
    CommitError::Unavailable { reason }
}
