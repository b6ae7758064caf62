//! Whom the commands that look at pools ask: a runner over `vmpool.v1`, or the
//! journal where none runs. Both answer with the same messages.
//!
//! [`RULE`] says which of them, and is shown in each command's help.

mod args;
mod journal;
mod keys;
mod runner;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout;
use vmpool_proto::v1::{ExplainResponse, StagesResponse, StatusResponse};

pub(crate) use self::args::{RULE, RunnerArgs, SourceArgs, Word};
use self::journal::JournalSource;
pub(crate) use self::journal::LedgerOfJournal;
pub(crate) use self::keys::KeyArgs;
pub(crate) use self::runner::RunnerSource;
use self::runner::{LedgerOfRunner, Unreached};
use crate::exit::{Exit, Stopped};
use crate::serve::StateDir;

/// Where a runner is asked by default.
const DEFAULT_URL: &str = "http://127.0.0.1:3001";

/// How long the runner of a state directory may take to say who it is: there is
/// still its journal.
const LOOKING: Duration = Duration::from_secs(5);

/// Who answers.
pub(crate) enum Source {
    Runner(Box<RunnerSource>),
    Journal(JournalSource),
}

/// A ledger that is read.
pub(crate) enum Ledger {
    Runner(LedgerOfRunner),
    Journal(LedgerOfJournal),
}

impl SourceArgs {
    /// Finds out who answers.
    ///
    /// # Errors
    /// Nobody does, or an option can't be used.
    pub(crate) async fn open(&self) -> Result<Source, Stopped> {
        if let Some(url) = &self.runner {
            return Ok(Source::Runner(
                RunnerSource::connect(url, &self.keys).await?.into(),
            ));
        }
        match (&self.state, &self.journal) {
            (Some(state), url) => match of_state(state, &self.keys).await {
                Ok(runner) => Ok(Source::Runner(runner.into())),
                Err(why) => {
                    let journal = match url {
                        Some(url) => JournalSource::shared(url).await?,
                        None => JournalSource::in_state(state)?,
                    };
                    Ok(Source::Journal(journal.since(why)))
                }
            },
            (None, Some(url)) => Ok(Source::Journal(JournalSource::shared(url).await?)),
            (None, None) => Ok(Source::Runner(
                RunnerSource::connect(DEFAULT_URL, &self.keys).await?.into(),
            )),
        }
    }
}

impl RunnerArgs {
    /// The runner that is meant.
    ///
    /// # Errors
    /// Nobody answers.
    pub(crate) async fn open(&self) -> Result<RunnerSource, Stopped> {
        the_runner(self.runner.as_deref(), self.state.as_deref(), &self.keys).await
    }
}

/// Who asks, as others are told.
pub(crate) fn whoami() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective());
    user.ok()
        .flatten()
        .map_or_else(String::new, |user| user.name)
}

/// A runner and nothing else: the one at `runner`, or that works in `state`, or
/// the one on this host.
///
/// # Errors
/// Nobody answers.
pub(crate) async fn the_runner(
    runner: Option<&str>,
    state: Option<&Path>,
    keys: &KeyArgs,
) -> Result<RunnerSource, Stopped> {
    match (runner, state) {
        (None, Some(state)) => of_state(state, keys).await.map_err(|why| {
            let why = why.unwrap_or_else(|| "none works there".to_owned());
            let state = state.display();
            Stopped {
                exit: Exit::NoRunner,
                error: anyhow!("no runner in {state}: {why}; start one with `vmpool serve`"),
            }
        }),
        (url, _) => RunnerSource::connect(url.unwrap_or(DEFAULT_URL), keys).await,
    }
}

/// The runner that works in a state directory. None: the last one has said
/// where it is, and nobody is there.
async fn of_state(state: &Path, keys: &KeyArgs) -> Result<RunnerSource, Option<String>> {
    let (url, id) = StateDir::last_runner(state).ok_or(None)?;
    let runner = RunnerSource::reach(&url, keys)
        .await
        .map_err(|error| match error {
            Unreached::Nobody { .. } => None,
            error @ Unreached::Url { .. } => Some(error.to_string()),
        })?;
    match timeout(LOOKING, runner.id()).await {
        // Another runner may listen there by now.
        Ok(Ok(found)) if found != id => Err(None),
        Ok(Ok(_)) => Ok(runner),
        Ok(Err(error)) => Err(Some(format!("{:#}", error.error))),
        // Or anything else.
        Err(_) => Err(Some(format!("nobody says at {url} who it is"))),
    }
}

impl Source {
    /// The pools, or the one that is named, as they are now.
    ///
    /// # Errors
    /// There is no such pool, or no answer.
    pub(crate) async fn status(&self, pool: Option<&str>) -> Result<StatusResponse, Stopped> {
        match self {
            Self::Runner(runner) => runner.status(pool).await,
            Self::Journal(journal) => journal.status(pool).await,
        }
    }

    /// The stages, or those of one pool.
    ///
    /// # Errors
    /// There is no such pool, or no answer.
    pub(crate) async fn stages(&self, pool: Option<&str>) -> Result<StagesResponse, Stopped> {
        match self {
            Self::Runner(runner) => runner.stages(pool).await,
            Self::Journal(journal) => journal.stages(pool).await,
        }
    }

    /// What happened to `subject`.
    ///
    /// # Errors
    /// Nothing is known of it, or there is no answer.
    pub(crate) async fn explain(&self, subject: &str) -> Result<ExplainResponse, Stopped> {
        match self {
            Self::Runner(runner) => runner.explain(subject).await,
            Self::Journal(journal) => journal.explain(subject).await,
        }
    }

    /// The ledger of all pools, or of one.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn ledger(&self, pool: Option<&str>) -> Result<Ledger, Stopped> {
        Ok(match self {
            Self::Runner(runner) => Ledger::Runner(runner.ledger(pool).await?),
            Self::Journal(journal) => Ledger::Journal(journal.ledger(pool)?),
        })
    }
}

impl Ledger {
    /// The next lines, the sum last; none: all were told.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn next(&mut self) -> Result<Vec<vmpool_proto::v1::LedgerLine>, Stopped> {
        match self {
            Self::Runner(ledger) => ledger.next().await,
            Self::Journal(ledger) => ledger.next().await,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runner(runner) => write!(f, "runner {}", runner.url()),
            Self::Journal(journal) => write!(f, "journal {}", journal.name()),
        }
    }
}
