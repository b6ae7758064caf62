//! Watch what a pool does: each event is told after it was written down.
//!
//! Runs on the testkit's machines, which are only simulated.

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::{Heard, PoolEvent, PoolParts};
use vmpool_core::testkit::{FakeProvider, SimLink};
use vmpool_core::{AcquireRequest, Clock, Pool, PoolConfig, WarmPool};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let parts = PoolParts::new(
        FakeProvider::new(clock),
        SimLink::new(clock),
        Arc::new(MemoryJournal::new()),
        clock,
    );
    let pool = WarmPool::start(PoolConfig::new("simulated", 1, 2), parts).await?;
    let mut events = pool.events();

    pool.acquire(AcquireRequest::new("build-1")).await?;
    pool.release(&"build-1".into()).await?;

    // The stream is bounded: who is too slow is told how much was missed.
    loop {
        match events.next().await {
            Some(Heard::Event(PoolEvent::Machine {
                id,
                state,
                stage,
                cause,
            })) => {
                let stage = stage.map_or_else(String::new, |stage| format!(" by {stage}"));
                println!("{id} is {state}{stage}: {cause}");
                if state.as_str() == "gone" {
                    break;
                }
            }
            Some(Heard::Event(other)) => println!("{other:?}"),
            Some(Heard::Missed(missed)) => println!("missed {missed} events"),
            None => break,
        }
    }
    pool.shutdown(Duration::from_secs(60)).await;
    Ok(())
}
