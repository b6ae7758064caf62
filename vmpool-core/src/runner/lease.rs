//! The lease on one pool: renewed for as long as the pool is ours, and what
//! may be done while it could not be.
//!
//! Two futures that run side by side. [`renew_until_lost`] asks the journal and
//! says when it last agreed; [`guard`] turns that into leave to write, by this
//! runner's monotonic clock alone, so that a journal that hangs can't keep it.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::parts::{LeaseTimes, RunnerParts, Sharing};
use super::troubles::Troubles;
use crate::id::{PoolName, Term};

/// One pool's lease.
pub(super) struct Renewal<'a> {
    pub(super) parts: &'a RunnerParts,
    pub(super) troubles: &'a Troubles,
    pub(super) pool: &'a PoolName,
    pub(super) term: Term,
    /// When the last renewal that the journal agreed to was begun.
    pub(super) agreed: watch::Sender<Instant>,
    /// Somebody has reason to ask at once.
    pub(super) doubt: &'a Notify,
}

/// Ends once the journal says that the pool is another's; alone, never.
pub(super) async fn renew_until_lost(renewal: &Renewal<'_>) {
    let Sharing::Shared(times) = renewal.parts.sharing else {
        return std::future::pending().await;
    };
    loop {
        // Never sooner than this after the last: a doubt asks once, not all the time.
        tokio::select! {
            biased;
            () = tokio::time::sleep(times.renew_every) => {}
            () = renewal.doubt.notified() => {}
        }
        let begun = Instant::now();
        let RunnerParts { journal, clock, .. } = renewal.parts;
        let asked = journal.renew(renewal.pool, renewal.term, times.lease, clock.now());
        match timeout(times.stop_after, asked).await {
            Ok(Ok(true)) => drop(renewal.agreed.send_replace(begun)),
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tell(renewal, &error.to_string()),
            Err(_) => tell(renewal, "no answer in time"),
        }
    }
}

fn tell(renewal: &Renewal<'_>, reason: &str) {
    let text = format!("renew the lease on pool {}: {reason}", renewal.pool);
    renewal.troubles.tell(Some(renewal.pool), text);
}

/// Keeps `may_write` true while the last agreement is younger than
/// [`LeaseTimes::stop_after`]. Never ends.
pub(super) async fn guard(
    sharing: Sharing,
    mut agreed: watch::Receiver<Instant>,
    may_write: &watch::Sender<bool>,
) {
    let Sharing::Shared(LeaseTimes { stop_after, .. }) = sharing else {
        return std::future::pending().await;
    };
    loop {
        let until = *agreed.borrow_and_update() + stop_after;
        let fresh = Instant::now() < until;
        may_write.send_if_modified(|may| std::mem::replace(may, fresh) != fresh);
        tokio::select! {
            biased;
            again = agreed.changed() => {
                if again.is_err() {
                    // Nobody renews any more, so nobody may write.
                    sleep_until(until).await;
                    may_write.send_replace(false);
                    return std::future::pending().await;
                }
            }
            () = sleep_until(until), if fresh => {}
        }
    }
}

/// How long to wait before asking for a pool that another has.
pub(super) fn ask_again_in(sharing: Sharing, left: Duration) -> Duration {
    /// Its lease ends by the journal's clock, which is not quite ours.
    const AFTER_ITS_END: Duration = Duration::from_millis(20);
    match sharing {
        Sharing::Alone => Duration::from_secs(1),
        // Given up before its end, it is to be had at once.
        Sharing::Shared(times) => (left + AFTER_ITS_END).min(times.renew_every),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p2_leave_to_write_ends_with_the_runners_own_time_and_comes_back_with_a_renewal() {
        let (agreed, receiver) = watch::channel(Instant::now());
        let (may_write, may) = watch::channel(true);
        let sharing = Sharing::Shared(LeaseTimes::default());
        let mut guard = pin!(guard(sharing, receiver, &may_write));
        for (seconds, renewed, expected) in [
            (3, false, true),
            (2, false, false),
            (60, false, false),
            (0, true, true),
            (3, true, true),
            (3, true, true),
            (2, false, false),
        ] {
            if renewed {
                agreed.send_replace(Instant::now());
            }
            let waited = timeout(Duration::from_secs(seconds), guard.as_mut()).await;
            assert!(waited.is_err(), "the guard never ends");
            assert_eq!(*may.borrow(), expected);
        }
    }
}
