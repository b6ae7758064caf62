//! A machine for a stage, and how that goes meanwhile.
//!
//! One call waits for the machine, with its place in the queue; beside it the
//! pool's owner is asked how it stands, and answers when that has changed. Where
//! the request names further pools, they are asked in [`Turns`].

use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use vmpool_proto::peer::v1::ProgressRequest;
use vmpool_proto::v1::{self, AcquireProgress, AcquireRequest};

use super::ask::{FALLBACK, Method};
use super::asked::Asked;
use super::failure::{Failure, Reason, is_of_the_pool, moved, of_each};
use super::turns::Turns;
use super::{Builds, Sent, message};

/// A machine that comes sooner needs no news.
const FIRST_NEWS: Duration = Duration::from_millis(50);

/// Between two news of one request.
const NEXT_NEWS: Duration = Duration::from_millis(100);

/// After news that nobody could give.
const NO_NEWS: Duration = Duration::from_secs(1);

/// Whoever has the pool has so long at most to say why there is no machine.
const WORD: Duration = Duration::from_millis(250);

struct Acquiring {
    builds: Builds,
    lease: Asked,
    news: Asked,
    stands: ProgressRequest,
    until: Option<Instant>,
    turns: Turns,
    /// Why the pools before have no machine.
    failures: Vec<(String, Status)>,
}

/// Whether the stream goes on.
enum Next {
    More(AcquireProgress),
    Last(Result<AcquireProgress, Status>),
}

/// Asks for the machine, in the pools of `turns`; `until` is the caller's deadline.
pub(super) fn acquire(
    builds: Builds,
    mut request: AcquireRequest,
    mut turns: Turns,
    until: Option<Instant>,
) -> Sent<AcquireProgress> {
    let now = Instant::now();
    let mut last = None;
    if let Some(until) = until {
        let left = until.saturating_duration_since(now);
        last = Some(until + (left / 20).min(WORD));
        let left = left.as_millis();
        // Nothing left is a deadline, too.
        let left = u64::try_from(left).unwrap_or(u64::MAX).max(1);
        request.wait_ms = match request.wait_ms {
            0 => left,
            named => named.min(left),
        };
    }
    turns.begin(&mut request, now);
    let (lease, news, stands) = ask(&builds, request, "");
    let acquiring = Acquiring {
        builds,
        lease,
        news,
        stands,
        until: last,
        turns,
        failures: Vec::new(),
    };
    Box::pin(stream::unfold(Some(acquiring), async |acquiring| {
        let mut acquiring = acquiring?;
        match acquiring.next().await {
            Next::More(progress) => Some((Ok(progress), Some(acquiring))),
            Next::Last(end) => Some((end, None)),
        }
    }))
}

/// Asks for the machine, and how that goes.
fn ask(builds: &Builds, request: AcquireRequest, query: &str) -> (Asked, Asked, ProgressRequest) {
    let now = Instant::now();
    let lease = builds.ask_with(Method::Acquire, query, &request, now);
    let of = AcquireRequest {
        setup: None,
        ..request
    };
    let stands = ProgressRequest {
        of: Some(of),
        known: None,
    };
    let news = builds.ask(Method::Progress, &stands, now + FIRST_NEWS);
    (lease, news, stands)
}

impl Acquiring {
    /// Asks the next pool after one that has no machine.
    ///
    /// # Errors
    /// There is none, or no other pool would help.
    fn ask_next(&mut self, failed: Status) -> Result<(), Status> {
        if !is_of_the_pool(&failed) {
            return Err(failed);
        }
        self.failures.push((self.pool().to_owned(), failed));
        let Some(request) = self.turns.next(Instant::now()) else {
            return Err(of_each(std::mem::take(&mut self.failures)));
        };
        (self.lease, self.news, self.stands) = ask(&self.builds, request, FALLBACK);
        Ok(())
    }

    /// The pool that is asked.
    fn pool(&self) -> &str {
        let of = self.stands.of.as_ref();
        of.map(|of| of.pool.as_str()).unwrap_or_default()
    }

    async fn next(&mut self) -> Next {
        loop {
            let heard = tokio::select! {
                biased;
                lease = self.lease.answer::<v1::Lease>() => match lease {
                    Ok(lease) => return Next::Last(Ok(message::ready(lease))),
                    Err(failed) => match self.ask_next(failed) {
                        Ok(()) => continue,
                        Err(end) => return Next::Last(Err(end)),
                    },
                },
                heard = self.news.answer::<AcquireProgress>() => heard,
                () = self.builds.leaving.cancelled() => {
                    return Next::Last(Err(moved()));
                }
                () = passed(self.until) => return Next::Last(Err(self.in_vain())),
            };
            let pause = match &heard {
                Ok(_) => NEXT_NEWS,
                Err(_) => NO_NEWS,
            };
            let news = heard.ok();
            let news = news.filter(|now| self.stands.known.as_ref() != Some(now));
            if news.is_some() {
                self.stands.known.clone_from(&news);
            }
            let at = Instant::now() + pause;
            self.news = self.builds.ask(Method::Progress, &self.stands, at);
            if let Some(mut now) = news {
                self.pool().clone_into(&mut now.pool);
                return Next::More(now);
            }
        }
    }

    /// The deadline is over, and whoever has the pool did not say so.
    fn in_vain(&self) -> Status {
        let pool = self.pool();
        let message = format!("no machine of pool {pool} before the call's deadline");
        Failure::new(Reason::NoMachineInTime, message).into()
    }
}

/// The deadline is over; never, where there is none.
pub(super) async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
