//! Pools whenever they change.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;
use vmpool_core::PoolName;
use vmpool_proto::v1::StatusResponse;

use super::service::{Service, moved};
use crate::serve::access::Caller;

/// At the earliest so long after the last one.
const AT_MOST: Duration = Duration::from_millis(100);

/// At the latest so long after it: some of what is told moves with time alone.
const AT_LEAST: Duration = Duration::from_secs(5);

pub(super) type Statuses = Pin<Box<dyn Stream<Item = Result<StatusResponse, Status>> + Send>>;

struct Watch {
    service: Service,
    pool: Option<PoolName>,
    caller: Caller,
    changes: watch::Receiver<u64>,
    begun: bool,
}

/// The pools now and whenever they change, until the runner is left. A watcher
/// that reads slowly misses what was between.
pub(super) fn statuses(service: Service, pool: Option<PoolName>, caller: Caller) -> Statuses {
    let changes = service.runner.changes();
    let watch = Watch {
        service,
        pool,
        caller,
        changes,
        begun: false,
    };
    Box::pin(stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(status) => Some((Ok(status), Some(watch))),
            Err(end) => Some((Err(end), None)),
        }
    }))
}

impl Watch {
    async fn next(&mut self) -> Result<StatusResponse, Status> {
        let leaving = self.service.leaving.clone();
        if self.begun {
            let news = async {
                sleep(AT_MOST).await;
                tokio::select! {
                    changed = self.changes.changed() => changed.map_err(|_| moved()),
                    () = sleep(AT_LEAST) => Ok(()),
                }
            };
            tokio::select! {
                news = news => news?,
                () = leaving.cancelled() => return Err(moved()),
            }
        }
        self.begun = true;
        self.changes.mark_unchanged();
        self.service.pools(self.pool.as_ref(), &self.caller)
    }
}
