//! Whether a caller may have a request carried out: are its pool and its stage
//! for this caller, and has it not too many already?
//!
//! To a caller that may use some pools only, a stage of another pool looks like
//! one that is not there, and a pool that it may not use is refused whether
//! there is one or not.

use http::StatusCode;
use vmpool_core::runner::Runner;
use vmpool_core::{PoolName, StageId};
use vmpool_pipeline::PoolFile;

use super::caller::Known;
use super::{Access, Caller};
use crate::serve::call::{Call, Subject};
use crate::serve::wire::Answer;

/// The request may be carried out while this is there.
#[derive(Debug)]
pub(in crate::serve) struct Permit<'a>(Option<(&'a Access, StageId)>);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some((access, stage)) = &self.0 {
            access.0.stages.asked(stage);
        }
    }
}

impl Access {
    /// Asked once it is known that the pools of `runner` are those that are meant.
    ///
    /// # Errors
    /// The answer to a request that is not for this caller.
    ///
    /// # Cancel safety
    /// Safe.
    pub(in crate::serve) async fn permit(
        &self,
        caller: &Caller,
        call: &Call,
        runner: &Runner,
        pools: &PoolFile,
    ) -> Result<Permit<'_>, Answer> {
        if caller.has_no_limit() {
            return Ok(Permit(None));
        }
        match call.subject(pools) {
            Subject::Pool { name, begins } => {
                let not_allowed = match caller.may_use_of(pools, &name) {
                    Ok(()) => None,
                    Err(error) => Some(error.to_string()),
                };
                if let Some(error) = not_allowed {
                    return Err(Answer::failure(StatusCode::FORBIDDEN, &error));
                }
                match (begins, caller.as_known()) {
                    (Some(stage), Some(known)) => self.begin(known, &name, stage, runner).await,
                    _ => Ok(Permit(None)),
                }
            }
            Subject::Stage(stage) => {
                let pool = runner.pool_of(stage).await;
                let pool = pool.map_err(|error| Answer::later(&error.to_string()))?;
                if let Some(pool) = pool {
                    if caller.may_use_of(pools, &pool).is_err() {
                        return Err(call.answer_if_unknown(stage));
                    }
                    if let Some(known) = caller.as_known().filter(|known| counts(known)) {
                        self.0.stages.has(known, &pool, stage);
                    }
                }
                Ok(Permit(None))
            }
        }
    }

    /// Counts a stage that a setup asks for.
    async fn begin(
        &self,
        known: &Known,
        pool: &PoolName,
        stage: &StageId,
        runner: &Runner,
    ) -> Result<Permit<'_>, Answer> {
        if !counts(known) {
            return Ok(Permit(None));
        }
        let stages = &self.0.stages;
        let ask = || stages.ask(known, pool, stage);
        let Err(full) = ask() else {
            return Ok(Permit(Some((self, stage.clone()))));
        };
        // Is it there already, or is another over?
        let journal = runner.journal();
        let is_there = async |stage: &StageId| {
            let record = journal.stage(stage).await?;
            Ok::<_, vmpool_core::journal::JournalError>(
                record.is_some_and(|record| !record.stage.state.is_ended()),
            )
        };
        let unread = |error: vmpool_core::journal::JournalError| Answer::later(&error.to_string());
        if is_there(stage).await.map_err(unread)? {
            stages.has(known, pool, stage);
        } else {
            for other in stages.perhaps_over(known) {
                if !is_there(&other).await.map_err(unread)? {
                    stages.is_over(&other);
                }
            }
        }
        match ask() {
            Ok(()) => Ok(Permit(Some((self, stage.clone())))),
            Err(_) => Err(Answer::failure(
                StatusCode::TOO_MANY_REQUESTS,
                &full.to_string(),
            )),
        }
    }
}

fn counts(known: &Known) -> bool {
    known.limits.stages.is_some() || known.limits.stages_per_pool.is_some()
}
