//! The writer: one thread that makes all writes, as many as wait in one
//! transaction, so that they share one fsync.
//!
//! Each write is a savepoint and has an answer of its own: what goes wrong with
//! one undoes that one. What a write may find out (a conflict, a limit) is an
//! answer like any other.
//!
//! Every write ends within [`PATIENCE`]. One that was not begun by then is
//! withdrawn, and was not made; only one that was begun is in doubt.
//!
//! A commit that failed at the disk may have left its end in the log, where
//! another start would find it, though nobody sees it now. The next commit
//! writes over it: one is made at once, and nothing else before it succeeded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::measures::Measures;

/// How long a write may take, waiting included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Writes that wait at most; more wait to wait.
const QUEUE: usize = 1_024;
/// Writes of one transaction at most.
const GROUP: usize = 256;
/// After so many writes the log is copied into the database, while nobody waits for an answer.
const CHECKPOINT_EVERY: usize = 256;

/// Why a write was not made, or may not have been.
#[derive(Debug, Clone)]
pub(super) enum NotWritten {
    /// Nothing was written.
    Unavailable(String),
    /// It may have been written.
    Ambiguous(String),
}

/// Hands writes to the thread. Dropped, the thread makes those that wait, and ends.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    path: PathBuf,
    in_doubt: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(conn: Connection, path: &Path) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let path = path.to_owned();
        let in_doubt = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            conn,
            path: path.clone(),
            unchecked: 0,
            measures: Measures::new(),
            in_doubt: in_doubt.clone(),
        };
        thread::Builder::new()
            .name("vmpool-journal".to_owned())
            .spawn(move || thread.serve(waiting))?;
        Ok(Self {
            queue,
            path,
            in_doubt,
        })
    }

    /// Whether another start might find what nobody sees now. Any write that
    /// succeeds decides it.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire)
    }

    /// Makes a write. `work` may be called again, if the first try was undone.
    ///
    /// # Cancel safety
    /// Once polled, the write may be made though the future is dropped.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, NotWritten>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let deadline = Instant::now() + PATIENCE;
        let is_decided = Arc::new(AtomicBool::new(false));
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task {
            work,
            is_decided: is_decided.clone(),
            result: None,
            reply,
        });
        let path = self.path.display();
        match timeout_at(deadline, self.queue.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let reason = format!("the thread that writes {path} has ended; restart the runner");
                return Err(NotWritten::Unavailable(reason));
            }
            Err(_) => {
                let reason = format!("{QUEUE} writes to {path} wait already; its disk is too slow");
                return Err(NotWritten::Unavailable(reason));
            }
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NotWritten::Ambiguous(format!(
                "the thread that writes {path} has ended"
            ))),
            Err(_) => {
                let reason = format!("the disk of {path} took longer than {PATIENCE:?}");
                // Whoever decides first: the thread to begin, or we to withdraw.
                Err(if is_decided.swap(true, Ordering::AcqRel) {
                    NotWritten::Ambiguous(reason)
                } else {
                    NotWritten::Unavailable(reason)
                })
            }
        }
    }
}

/// A write with its answer, of whatever type.
trait Job: Send {
    /// False: it was withdrawn.
    fn begin(&self) -> bool;
    /// Writes; the answer is kept.
    fn run(&mut self, conn: &Connection) -> rusqlite::Result<()>;
    /// Takes this for its answer instead.
    fn fail(&mut self, why: NotWritten);
    /// Gives its answer. Nobody may be there any more to hear it.
    fn answer(self: Box<Self>);
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

struct Task<T, F> {
    work: F,
    is_decided: Arc<AtomicBool>,
    result: Option<Result<T, NotWritten>>,
    reply: oneshot::Sender<Result<T, NotWritten>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
{
    fn begin(&self) -> bool {
        !self.is_decided.swap(true, Ordering::AcqRel)
    }

    fn run(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.result = Some(Ok((self.work)(conn)?));
        Ok(())
    }

    fn fail(&mut self, why: NotWritten) {
        self.result = Some(Err(why));
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            let _ = self.reply.send(result);
        }
    }
}

struct Thread {
    conn: Connection,
    path: PathBuf,
    /// Writes since the log was copied into the database last.
    unchecked: usize,
    measures: Measures,
    /// The end of a commit that failed may be in the log.
    in_doubt: Arc<AtomicBool>,
}

/// Why a transaction was not made.
enum Undone {
    /// The database gave it up midway: its writes may be made one by one.
    Midway,
    /// At its beginning or its end: the same for all of its writes.
    All(NotWritten),
}

impl Thread {
    fn serve(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            group.retain(|job| job.begin());
            if group.is_empty() {
                continue;
            }
            self.unchecked += group.len();
            self.make(group);
            if self.unchecked >= CHECKPOINT_EVERY {
                self.unchecked = 0;
                self.checkpoint();
            }
        }
    }

    fn make(&self, mut group: Vec<Box<dyn Job>>) {
        let begun = Instant::now();
        let made = self.transaction(&mut group);
        self.measures
            .tried(group.len(), made.is_ok(), begun.elapsed());
        match made {
            Ok(()) => {}
            Err(Undone::All(why)) => group.iter_mut().for_each(|job| job.fail(why.clone())),
            Err(Undone::Midway) => {
                for mut job in group {
                    let alone = std::slice::from_mut(&mut job);
                    if let Err(undone) = self.transaction(alone) {
                        job.fail(undone.alone());
                    }
                    job.answer();
                }
                return;
            }
        }
        for job in group {
            job.answer();
        }
    }

    fn transaction(&self, group: &mut [Box<dyn Job>]) -> Result<(), Undone> {
        let unavailable = |error| Undone::All(NotWritten::Unavailable(self.reason(&error)));
        if self.in_doubt.load(Ordering::Acquire) {
            self.decide().map_err(unavailable)?;
        }
        self.run("BEGIN IMMEDIATE").map_err(unavailable)?;
        let is_alone = group.len() == 1;
        for job in group {
            let made = self.savepoint(job);
            let Err(error) = made else { continue };
            if self.conn.is_autocommit() {
                return Err(if is_alone {
                    unavailable(error)
                } else {
                    Undone::Midway
                });
            }
            let undone = self.run("ROLLBACK TO one");
            if let Err(error) = undone.and_then(|()| self.run("RELEASE one")) {
                self.roll_back();
                return Err(unavailable(error));
            }
            job.fail(NotWritten::Unavailable(self.reason(&error)));
        }
        self.run("COMMIT").map_err(|error| {
            self.roll_back();
            let reason = self.reason(&error);
            let may_be_there = matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::SystemIoFailure) | None
            );
            Undone::All(if may_be_there && self.decide().is_err() {
                NotWritten::Ambiguous(reason)
            } else {
                NotWritten::Unavailable(reason)
            })
        })
    }

    /// Writes over what a commit that failed left in the log. Only then it is
    /// not there, whatever happens next.
    fn decide(&self) -> rusqlite::Result<()> {
        // A change of the first page, which means nothing to anybody.
        let made = self
            .run("BEGIN IMMEDIATE")
            .and_then(|()| {
                self.conn
                    .pragma_query_value(None, "user_version", |row| row.get(0))
            })
            .and_then(|last: i32| {
                let next = last.wrapping_add(1);
                self.conn.pragma_update(None, "user_version", next)
            })
            .and_then(|()| self.run("COMMIT"));
        if made.is_err() {
            self.roll_back();
        }
        self.in_doubt.store(made.is_err(), Ordering::Release);
        made
    }

    fn savepoint(&self, job: &mut Box<dyn Job>) -> rusqlite::Result<()> {
        self.run("SAVEPOINT one")?;
        job.run(&self.conn)?;
        self.run("RELEASE one")
    }

    /// After this no transaction is open.
    fn roll_back(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, path = %self.path.display(), "roll the journal back");
        }
    }

    /// What was answered is durable without this; it keeps the log short.
    fn checkpoint(&self) {
        let copied = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            let reason = self.reason(&error);
            tracing::warn!(reason, "the journal's log was not copied; it grows");
        }
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// What went wrong and what a person can do about it.
    fn reason(&self, error: &rusqlite::Error) -> String {
        let path = self.path.display();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => format!(
                "no space is left for {path}: free some on its disk, writing then goes on by itself ({error})"
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("another process keeps {path} locked: end it ({error})")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                format!("{path} may not be written: check its owner and its folder's ({error})")
            }
            Some(ErrorCode::SystemIoFailure) => {
                format!("the disk of {path} fails: check it ({error})")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                format!("{path} is damaged: restore a backup ({error})")
            }
            _ => format!("write {path}: {error}"),
        }
    }
}

impl Undone {
    /// What it means for a write that was alone in its transaction.
    fn alone(self) -> NotWritten {
        match self {
            Self::All(why) => why,
            Self::Midway => NotWritten::Unavailable("the database undid it".to_owned()),
        }
    }
}
