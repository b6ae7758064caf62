//! The memory journal keeps what every journal must.

use std::sync::Arc;

use vmpool_core::journal::{JournalError, MemoryJournal};
use vmpool_core::testkit::conformance;

#[tokio::test]
async fn the_memory_journal_keeps_what_every_journal_must() -> Result<(), JournalError> {
    conformance::all(Arc::new(MemoryJournal::new())).await
}
