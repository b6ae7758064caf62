//! The journal in PostgreSQL: it keeps what every journal must, over kills of
//! the server, and pools are shared by the database's clock.

use std::sync::Arc;

use vmpool_core::testkit::conformance;
use vmpool_store::PostgresJournal;
use vmpool_store::testkit::Cluster;

type Tested = Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_keeps_what_every_journal_must() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    conformance::all(Arc::new(PostgresJournal::connect(&url).await?)).await?;
    // Connected to again, it is the same journal.
    conformance::all(Arc::new(PostgresJournal::connect(&url).await?)).await?;
    Ok(())
}
