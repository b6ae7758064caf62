//! P6: a pool of three of which one machine is dead and one was reclaimed still
//! serves three requests at full speed, and is three again. Full speed means:
//! a ready machine is had within no time at all, nobody is given a dead one or
//! waits to find out, and who finds none ready waits for a boot and for no more.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use vmpool_core::machine::MachineState;
use vmpool_core::pool::Origin;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{Lease, MachineId, PoolConfig};

use crate::harness::World;

const BOOT: Duration = Duration::from_secs(40);

/// A pool of three; the first is dead, the second was reclaimed.
async fn broken() -> (World, [MachineId; 2]) {
    let world = World::with(PoolConfig::new("linux", 3, 10), FaultPlan::none()).await;
    world.ready(3).await;
    let machines = world.status().machines;
    let [dead, reclaimed] = [0, 1].map(|n| machines[n].id.clone());
    // What is launched from now on takes a while to boot.
    world.link.connect_after(BOOT);
    world.link.kill(&dead, "its agent was killed");
    world.provider.kill(&reclaimed);
    world.link.kill(&reclaimed, "connection reset");
    (world, [dead, reclaimed])
}

async fn serve_three(world: World, broken: [MachineId; 2]) -> Vec<Lease> {
    let world = std::sync::Arc::new(world);
    let mut requests = JoinSet::new();
    for n in 0..3 {
        let world = world.clone();
        requests.spawn(async move { world.lease(&format!("build-{n}")).await });
    }
    let leases = requests.join_all().await;
    for lease in &leases {
        assert!(!broken.contains(lease.machine_id()), "it is handed out");
    }
    world.until("three again", |status| status.ready == 3).await;
    let alive = world.provider.alive();
    assert!(broken.iter().all(|id| !alive.contains(id)), "{alive:?}");
    let world = std::sync::Arc::into_inner(world).expect("all requests are over");
    world.end().await;
    leases
}

#[tokio::test(start_paused = true)]
async fn p6_a_pool_with_a_dead_and_a_reclaimed_machine_is_whole_before_anybody_asks() {
    let (world, broken) = broken().await;
    let begun = Instant::now();
    world
        .until("three again", |status| {
            status.ready == 3 && !status.machines.iter().any(|m| broken.contains(&m.id))
        })
        .await;
    let took = begun.elapsed();
    assert!(took <= BOOT + Duration::from_secs(2), "{took:?}");
    let leases = serve_three(world, broken).await;
    let warm = leases.iter().filter(|lease| lease.origin() == Origin::Warm);
    assert_eq!(warm.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn p6_three_requests_at_the_moment_that_two_of_three_die_wait_for_no_more_than_a_boot() {
    let (world, broken) = broken().await;
    let leases = serve_three(world, broken).await;
    let mut warm = 0;
    for lease in leases {
        match lease.origin() {
            Origin::Warm => warm += 1,
            Origin::Waited(span) => {
                assert!(span <= BOOT + Duration::from_secs(1), "{span:?}");
            }
            Origin::Attached => panic!("each has a machine of its own"),
        }
    }
    assert_eq!(warm, 1, "the one that lives is had at once");
}

#[tokio::test(start_paused = true)]
async fn p6_replacing_what_died_waits_for_neither_a_diagnosis_nor_a_termination() {
    let (world, broken) = broken().await;
    let hangs = Fault::Delay(Duration::from_hours(1000));
    let plan = FaultPlan::none()
        .always(Call::Diagnose, hangs)
        .at(Call::Terminate, 1, hangs);
    world.provider.set_plan(plan);
    let begun = Instant::now();
    world
        .until("three can be had", |status| {
            let ready = status
                .machines
                .iter()
                .filter(|m| m.state == MachineState::Ready);
            ready.filter(|m| !broken.contains(&m.id)).count() == 3
        })
        .await;
    let took = begun.elapsed();
    assert!(took <= BOOT + Duration::from_secs(2), "{took:?}");
    world.provider.set_plan(FaultPlan::none());
    serve_three(world, broken).await;
}
