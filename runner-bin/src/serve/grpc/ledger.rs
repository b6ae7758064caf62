//! The ledger, as fast as it is read.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use vmpool_core::PoolName;
use vmpool_core::ledger::{Entry, Ledger};
use vmpool_core::runner::PoolStanding;
use vmpool_proto::v1::LedgerLine;

use super::service::moved;
use super::visible::{READING, silent_journal};
use crate::messages;

pub(super) type Lines = Pin<Box<dyn Stream<Item = Result<LedgerLine, Status>> + Send>>;

/// Each machine and the sum, until the runner is left.
pub(super) fn lines(ledger: Ledger, unchecked: Vec<String>, leaving: CancellationToken) -> Lines {
    let begin = Some((ledger, unchecked, leaving));
    let pages = stream::unfold(begin, async |state| {
        let (mut ledger, unchecked, leaving) = state?;
        let page = tokio::select! {
            page = page(&mut ledger) => page,
            () = leaving.cancelled() => Err(moved()),
        };
        Some(match page {
            Ok(Some(page)) => {
                let lines = page.into_iter().map(messages::ledger_entry).map(Ok);
                (lines.collect(), Some((ledger, unchecked, leaving)))
            }
            Ok(None) => {
                let sum = messages::ledger_sum(ledger.totals(), unchecked);
                (vec![Ok(sum)], None)
            }
            Err(error) => (vec![Err(error)], None),
        })
    });
    Box::pin(pages.flat_map(|page: Vec<_>| stream::iter(page)))
}

async fn page(ledger: &mut Ledger) -> Result<Option<Vec<Entry>>, Status> {
    match timeout(READING, ledger.next_page()).await {
        Ok(page) => page.map_err(|error| Status::unavailable(error.to_string())),
        Err(_) => Err(silent_journal()),
    }
}

/// The pools whose machines this runner has not held against their provider.
pub(super) fn unchecked(pools: &[PoolStanding], wanted: Option<&PoolName>) -> Vec<String> {
    let is_checked = |pool: &&PoolStanding| {
        let status = pool.status.as_ref();
        status.is_some_and(|status| status.checked_at.is_some())
    };
    let wanted = pools
        .iter()
        .filter(|pool| wanted.is_none_or(|name| pool.name == *name));
    let unchecked = wanted.filter(|pool| !is_checked(pool));
    unchecked.map(|pool| pool.name.to_string()).collect()
}
