//! What a machine's cloud says of the machine's end, and how the machine fares,
//! as its agent tells it over the open connection.
//!
//! The machine may be in a build step's hands: what it tells may be anything,
//! and comes no faster than is wanted here.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use vmpool_core::{Facts, Notice, NoticeKind, Timestamp};
use vmpool_proto::agent::v1::agent_client::AgentClient;
use vmpool_proto::agent::v1::watch_event::Kind;
use vmpool_proto::agent::v1::{self as proto, WatchRequest};

use super::slot::Slot;
use crate::connection::Http2;
use crate::reason;

/// Facts are told so often to one who wants them once.
const LOOKS_MS: u64 = 1000;

/// For the first facts of a machine.
const FACTS_PATIENCE: Duration = Duration::from_secs(5);

/// Between two notices, and before a call that ended is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest word for what a cloud does.
const ACTION_MAX: usize = 32;

/// Hears notices for as long as it is polled.
pub(super) async fn keep(agent: AgentClient<Http2>, slot: &Slot) -> Infallible {
    loop {
        // Boxed, so that no more than the call itself is held while it is silent.
        match Box::pin(hear(agent.clone(), slot)).await {
            Ok(()) => {}
            // An agent of an earlier version.
            Err(status) if status.code() == Code::Unimplemented => return pending().await,
            Err(status) => {
                let (machine, error) = (slot.machine(), reason::status(&status));
                tracing::debug!(%machine, %error, "notices are not told");
            }
        }
        sleep(PAUSE).await;
    }
}

async fn hear(mut agent: AgentClient<Http2>, slot: &Slot) -> Result<(), Status> {
    let watched = agent.watch(WatchRequest { every_ms: 0 }).await?;
    let mut events = watched.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(Kind::Notice(notice)) = event.kind
            && let Some(notice) = of_wire(notice)
        {
            slot.notice(notice);
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// How the machine fares now; `None`, where it does not tell in time.
pub(super) async fn facts(mut agent: AgentClient<Http2>) -> Option<Facts> {
    let first = async {
        let every_ms = LOOKS_MS;
        let watched = agent.watch(WatchRequest { every_ms }).await?;
        let mut events = watched.into_inner();
        while let Some(event) = events.message().await? {
            if let Some(Kind::Facts(facts)) = event.kind {
                return Ok(Some(facts));
            }
        }
        Ok::<_, Status>(None)
    };
    let facts = timeout(FACTS_PATIENCE, first).await.ok()?.ok()??;
    Some(Facts {
        cpu_pct: facts.cpu_pct,
        memory_total: facts.memory_total,
        memory_available: facts.memory_available,
        disk_total: facts.disk_total,
        disk_available: facts.disk_available,
        disk_read_per_sec: facts.disk_read_per_sec,
        disk_written_per_sec: facts.disk_written_per_sec,
    })
}

/// `None`: of a kind that this runner doesn't know.
fn of_wire(notice: proto::Notice) -> Option<Notice> {
    let kind = match notice.kind() {
        proto::notice::Kind::Unspecified => return None,
        proto::notice::Kind::SpotInterruption => NoticeKind::SpotInterruption,
        proto::notice::Kind::Rebalance => NoticeKind::Rebalance,
    };
    let is_word = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-'));
    let mut action = notice.action;
    if action.is_empty() || action.len() > ACTION_MAX || !is_word(&action) {
        "reclaim".clone_into(&mut action);
    }
    Some(Notice {
        kind,
        at: Timestamp(notice.at_ms),
        acts_at: notice.acts_at_ms.map(Timestamp),
        action,
    })
}
