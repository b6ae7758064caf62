//! Machines that a stage had are emptied before they are ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use vmpool_core::pool::Salvage;
use vmpool_core::{Lease, PoolConfig, StageId};

use crate::harness::{World, patient};

/// Notes whom it was asked to save, and saves only where it is let.
#[derive(Default)]
struct Saves {
    asked: Mutex<Vec<StageId>>,
    slow: Mutex<Option<StageId>>,
    go_on: Notify,
}

impl Saves {
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Salvage for Saves {
    async fn salvage(&self, lease: &Lease) {
        self.asked.lock().push(lease.stage().clone());
        let slow = self.slow.lock().as_ref() == Some(lease.stage());
        if slow {
            self.go_on.notified().await;
        }
    }
}

async fn world(warm: u32, limit: u32) -> (World, Arc<Saves>) {
    let saves = Arc::new(Saves::default());
    let config = PoolConfig::new("linux", warm, limit);
    (World::saving(config, saves.clone()).await, saves)
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_on_a_released_machine_is_saved_before_it_is_ended() {
    let (world, saves) = world(0, 2).await;
    *saves.slow.lock() = Some("build-1".into());
    let lease = world.lease("build-1").await;
    world.release("build-1").await;
    world.until("asked", |_| !saves.asked().is_empty()).await;
    assert_eq!(world.provider.alive(), [lease.machine_id().clone()]);
    saves.go_on.notify_one();
    world.until("gone", |status| status.ending == 0).await;
    assert_eq!(world.provider.alive(), []);
    assert_eq!(saves.asked(), ["build-1"], "once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_slow_to_empty_holds_no_other_up() {
    let (world, saves) = world(0, 2).await;
    *saves.slow.lock() = Some("build-1".into());
    let slow = world.lease("build-1").await;
    world.lease("build-2").await;
    world.release("build-1").await;
    world.release("build-2").await;
    world.until("one gone", |status| status.ending == 1).await;
    assert_eq!(world.provider.alive(), [slow.machine_id().clone()]);
    saves.go_on.notify_one();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_machine_that_can_not_be_emptied_keeps_its_slot_and_ends_at_its_deadline() {
    let (world, saves) = world(0, 1).await;
    *saves.slow.lock() = Some("build-1".into());
    world.lease("build-1").await;
    world.release("build-1").await;
    world
        .pool
        .acquire(patient("build-2", Duration::from_secs(60)))
        .await
        .expect_err("its slot is taken");
    world.lease("build-3").await;
    assert_eq!(world.provider.most_alive(), 1);
    let evidence = world.status().evidence;
    assert!(
        evidence.iter().any(|e| e.text.contains("was not saved")),
        "{evidence:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_machine_that_was_draining_when_its_pool_died_is_emptied_by_the_next() {
    let (world, saves) = world(0, 1).await;
    *saves.slow.lock() = Some("build-1".into());
    world.lease("build-1").await;
    world.release("build-1").await;
    world.until("asked", |_| !saves.asked().is_empty()).await;
    *saves.slow.lock() = None;
    let world = world.restart().await;
    world.until("gone", |status| status.ending == 0).await;
    assert_eq!(saves.asked(), ["build-1", "build-1"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_lost_machine_is_ended_though_nothing_can_be_saved() {
    let (world, saves) = world(0, 1).await;
    let lease = world.lease("build-1").await;
    world.link.kill(lease.machine_id(), "its kernel panicked");
    tokio::time::sleep(Duration::from_secs(150)).await;
    world.until("gone", |status| status.ending == 0).await;
    assert_eq!(world.provider.alive(), []);
    assert_eq!(saves.asked(), Vec::<String>::new());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_a_stage_is_ended_at_once() {
    let (world, saves) = world(2, 2).await;
    world.ready(2).await;
    world.pool.resize(0, 2);
    world
        .until("gone", |status| status.machines.is_empty())
        .await;
    assert_eq!(saves.asked(), Vec::<String>::new());
    world.end().await;
}
