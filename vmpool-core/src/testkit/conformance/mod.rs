//! What every journal must keep: one suite for memory, SQLite, and any journal
//! of an embedder's own.
//!
//! Each case panics with what was not kept. The cases share a journal and use
//! names of their own, so that they can run one after the other on one database.

mod batches;
mod limits;
mod ownership;
mod records;
mod rows;

use std::sync::Arc;

use crate::journal::{Journal, JournalError};

/// All cases, one after the other.
///
/// # Errors
/// The journal failed at something that it must be able to do.
///
/// # Panics
/// It does not keep what it must.
pub async fn all(journal: Arc<dyn Journal>) -> Result<(), JournalError> {
    batches::a_batch_is_made_whole_or_not_at_all(&journal).await?;
    batches::a_row_is_changed_once_in_a_batch(&journal).await?;
    batches::versions_are_held_against_each_other_before_the_limit(&journal).await?;
    limits::p7_the_limit_counts_open_slots_and_living_machines(&journal).await?;
    limits::p7_a_machine_that_another_pool_writes_down_as_its_own_frees_its_slot(&journal).await?;
    batches::p2_of_many_claims_of_one_machine_one_is_made(&journal).await?;
    ownership::a_lower_term_is_refused(&journal).await?;
    ownership::a_pool_is_taken_when_its_lease_is_over(&journal).await?;
    ownership::a_cordon_stands_whoever_rules_the_pool(&journal).await?;
    records::what_is_not_over_is_what_a_pool_goes_on_with(&journal).await?;
    records::events_and_notes_are_told_in_their_order(&journal).await?;
    records::the_ledger_has_every_machine_page_by_page(&journal).await?;
    records::compaction_forgets_nothing_that_is_not_over(&journal).await
}
