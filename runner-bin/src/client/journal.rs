//! The journal that is read where no runner is asked. What only a runner knows
//! (what waits, what holds orders off, what is not accounted for) is left out.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use vmpool_core::explain::{ExplainError, explain};
use vmpool_core::ledger::Ledger;
use vmpool_core::{Clock, Journal, PoolName};
use vmpool_proto::v1::{ExplainResponse, LedgerLine, StagesResponse, StatusResponse};
use vmpool_store::{PostgresJournal, SqliteJournal};

use crate::exit::{Exit, OrExit as _, Stopped};
use crate::messages;
use crate::serve::operate;

/// A journal, open for reading.
pub(crate) struct JournalSource {
    journal: Arc<dyn Journal>,
    name: String,
}

/// Its ledger.
pub(crate) struct LedgerOfJournal {
    ledger: Ledger,
    /// The pools that were told of: no runner vouches for them.
    unchecked: Vec<String>,
    over: bool,
}

impl JournalSource {
    /// The journal in a state directory.
    ///
    /// # Errors
    /// There is none that can be read.
    pub(super) fn in_state(state: &Path) -> Result<Self, Stopped> {
        let path = state.join("vmpool.db");
        if !path.exists() {
            let state = state.display();
            let error = anyhow!(
                "no runner works in {state}, and it has no journal; start one with \
                 `vmpool serve --state {state}`"
            );
            return Err(error).or_exit(Exit::BadInput);
        }
        let journal = SqliteJournal::open_read_only(&path)
            .with_context(|| format!("read the journal in {}", state.display()))
            .or_exit(Exit::BadInput)?;
        Ok(Self {
            journal: Arc::new(journal),
            name: path.display().to_string(),
        })
    }

    /// A journal that several runners share.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) async fn shared(url: &str) -> Result<Self, Stopped> {
        let name = PostgresJournal::shown(url);
        let name = name.context("--journal").or_exit(Exit::BadInput)?;
        let journal = PostgresJournal::connect_read_only(url).await;
        let journal = journal
            .with_context(|| format!("read the journal {name}"))
            .or_exit(Exit::Failed)?;
        Ok(Self {
            journal: Arc::new(journal),
            name,
        })
    }

    /// The same, read since the runner that works there was not asked.
    #[must_use]
    pub(super) fn since(mut self, why: Option<String>) -> Self {
        if let Some(why) = why {
            self.name = format!("{} ({why})", self.name);
        }
        self
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn status(&self, pool: Option<&str>) -> Result<StatusResponse, Stopped> {
        let wanted = parse(pool)?;
        let now = Clock::system().now();
        let owners = self.journal.pools(now).await.or_exit(Exit::Failed)?;
        let mut pools = Vec::new();
        for owner in owners {
            if wanted.as_ref().is_some_and(|name| *name != owner.pool) {
                continue;
            }
            let rows = self.journal.pool(&owner.pool).await.or_exit(Exit::Failed)?;
            pools.push(messages::from_journal(&owner, &rows));
        }
        if let (Some(name), true) = (wanted, pools.is_empty()) {
            let error = anyhow!("there is no pool {name} in {}", self.name);
            return Err(error).or_exit(Exit::BadInput);
        }
        Ok(StatusResponse {
            at_unix_ms: now.0,
            pools,
            ..StatusResponse::default()
        })
    }

    pub(super) async fn stages(&self, pool: Option<&str>) -> Result<StagesResponse, Stopped> {
        let wanted = parse(pool)?;
        let listed = operate::listed(&*self.journal, &[], wanted.as_ref()).await;
        listed.or_exit(Exit::Failed)
    }

    pub(super) async fn explain(&self, subject: &str) -> Result<ExplainResponse, Stopped> {
        let told = explain(&*self.journal, subject, Clock::system().now(), &[]).await;
        let story = told.map_err(|error| Stopped {
            exit: match error {
                ExplainError::Journal { .. } => Exit::Failed,
                _ => Exit::BadInput,
            },
            error: error.into(),
        })?;
        Ok(messages::story(story))
    }

    pub(super) fn ledger(&self, pool: Option<&str>) -> Result<LedgerOfJournal, Stopped> {
        Ok(LedgerOfJournal {
            ledger: Ledger::of(Arc::clone(&self.journal)).only(parse(pool)?),
            unchecked: Vec::new(),
            over: false,
        })
    }
}

impl LedgerOfJournal {
    pub(super) async fn next(&mut self) -> Result<Vec<LedgerLine>, Stopped> {
        while !self.over {
            let page = self.ledger.next_page().await.or_exit(Exit::Failed)?;
            let Some(page) = page else {
                self.over = true;
                let unchecked = std::mem::take(&mut self.unchecked);
                return Ok(vec![messages::ledger_sum(self.ledger.totals(), unchecked)]);
            };
            for entry in &page {
                let pool = entry.pool.as_str();
                if let Err(at) = self
                    .unchecked
                    .binary_search_by(|known| known.as_str().cmp(pool))
                {
                    self.unchecked.insert(at, pool.to_owned());
                }
            }
            if !page.is_empty() {
                return Ok(page.into_iter().map(messages::ledger_entry).collect());
            }
        }
        Ok(Vec::new())
    }
}

fn parse(pool: Option<&str>) -> Result<Option<PoolName>, Stopped> {
    let parsed = pool.map(PoolName::parse).transpose();
    parsed.context("the pool's name").or_exit(Exit::BadInput)
}
