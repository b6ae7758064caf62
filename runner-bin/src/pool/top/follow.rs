//! What is seen of the pools, and how it stays new: a runner tells what
//! changes, a journal is read again; one that is away is looked for again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use vmpool_proto::v1::StatusResponse;

use crate::client::{RunnerSource, Source};
use crate::pool::args::TopArgs;

/// Between two looks at a journal, or for a runner that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Who told it.
    pub(super) source: String,
    /// What was told last, and when.
    pub(super) told: Option<(StatusResponse, Instant)>,
    /// Why nothing newer is known.
    pub(super) lost: Option<String>,
}

/// Follows `source`, and whoever comes after it, for ever.
///
/// # Cancel safety
/// Safe.
pub(super) async fn follow(mut source: Source, args: &TopArgs, tell: &watch::Sender<Seen>) {
    let pool = args.pool.as_deref();
    loop {
        let name = source.to_string();
        tell.send_modify(|seen| seen.source.clone_from(&name));
        let lost = match &source {
            Source::Runner(runner) => Some(watch_runner(runner, pool, tell).await),
            Source::Journal(_) => match source.status(pool).await {
                Ok(status) => {
                    tell_news(tell, status);
                    None
                }
                Err(error) => Some(format!("{:#}", error.error)),
            },
        };
        if lost.is_some() {
            tell.send_modify(|seen| seen.lost = lost);
        }
        sleep(AGAIN).await;
        match args.source.open().await {
            Ok(found) => source = found,
            Err(error) => {
                let lost = Some(format!("{:#}", error.error));
                tell.send_modify(|seen| seen.lost = lost);
            }
        }
    }
}

/// Tells what a runner tells, until it does not any more: why.
async fn watch_runner(
    runner: &RunnerSource,
    pool: Option<&str>,
    tell: &watch::Sender<Seen>,
) -> String {
    let mut statuses = match runner.watch(pool).await {
        Ok(statuses) => statuses,
        Err(status) => return status.message().to_owned(),
    };
    loop {
        match statuses.message().await {
            Ok(Some(status)) => tell_news(tell, status),
            Ok(None) => return "the runner has ended the watch".to_owned(),
            Err(status) => return status.message().to_owned(),
        }
    }
}

fn tell_news(tell: &watch::Sender<Seen>, status: StatusResponse) {
    tell.send_modify(|seen| {
        seen.told = Some((status, Instant::now()));
        seen.lost = None;
    });
}
