//! A machine for a stage, and how that goes meanwhile.
//!
//! One call waits for the machine, with its place in the queue; beside it the
//! pool's owner is asked how it stands, and answers when that has changed.

use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use vmpool_proto::peer::v1::ProgressRequest;
use vmpool_proto::v1::{self, AcquireProgress, AcquireRequest};

use super::ask::Method;
use super::asked::Asked;
use super::failure::{Failure, Reason, moved};
use super::{Builds, Sent, message};

/// A machine that comes sooner needs no news.
const FIRST_NEWS: Duration = Duration::from_millis(50);

/// Between two news of one request.
const NEXT_NEWS: Duration = Duration::from_millis(100);

/// After news that nobody could give.
const NO_NEWS: Duration = Duration::from_secs(1);

struct Acquiring {
    builds: Builds,
    lease: Asked,
    news: Asked,
    stands: ProgressRequest,
    until: Option<Instant>,
}

/// Whether the stream goes on.
enum Next {
    More(AcquireProgress),
    Last(Result<AcquireProgress, Status>),
}

/// Whoever has the pool has so long at most to say why there is no machine.
const WORD: Duration = Duration::from_millis(250);

/// Asks for the machine; `until` is the caller's deadline.
pub(super) fn acquire(
    builds: Builds,
    mut request: AcquireRequest,
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
    let lease = builds.ask(Method::Acquire, &request, now);
    request.setup = None;
    let stands = ProgressRequest {
        of: Some(request),
        known: None,
    };
    let acquiring = Acquiring {
        news: builds.ask(Method::Progress, &stands, now + FIRST_NEWS),
        builds,
        lease,
        stands,
        until: last,
    };
    Box::pin(stream::unfold(Some(acquiring), async |acquiring| {
        let mut acquiring = acquiring?;
        match acquiring.next().await {
            Next::More(progress) => Some((Ok(progress), Some(acquiring))),
            Next::Last(end) => Some((end, None)),
        }
    }))
}

impl Acquiring {
    async fn next(&mut self) -> Next {
        loop {
            let heard = tokio::select! {
                biased;
                lease = self.lease.answer::<v1::Lease>() => {
                    return Next::Last(lease.map(message::ready));
                }
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
            if let Some(now) = news {
                return Next::More(now);
            }
        }
    }

    /// The deadline is over, and whoever has the pool did not say so.
    fn in_vain(&self) -> Status {
        let of = self.stands.of.as_ref();
        let pool = of.map(|of| of.pool.as_str()).unwrap_or_default();
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
