//! The journal of a serving runner: the file in its state directory, or the
//! database that the deployment's runners share.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use vmpool_core::Journal;
use vmpool_core::runner::{LeaseTimes, Sharing};
use vmpool_store::{ConnectError, PostgresJournal, SqliteJournal};

use super::args::ServeArgs;
use super::site::Site;
use super::state_dir::StateDir;

/// The journal as it may be shown: a URL without its password.
///
/// # Errors
/// `--journal` is no URL of a database that can be used.
pub(super) fn shown(args: &ServeArgs, state: &StateDir) -> Result<String, ConnectError> {
    match &args.journal {
        Some(url) => PostgresJournal::shown(url),
        None => Ok(state.path().join("vmpool.db").display().to_string()),
    }
}

/// Opens it. A database is shared under leases; a file is this runner's alone.
///
/// # Errors
/// It can't be used.
pub(super) async fn open(site: &Site) -> anyhow::Result<(Arc<dyn Journal>, Sharing)> {
    if let Some(url) = &site.args.journal {
        let journal = PostgresJournal::connect(url).await?;
        return Ok((Arc::new(journal), Sharing::Shared(LeaseTimes::default())));
    }
    let path = site.state.path().join("vmpool.db");
    let journal = spawn_blocking(move || SqliteJournal::open(path)).await??;
    Ok((Arc::new(journal), Sharing::Alone))
}
