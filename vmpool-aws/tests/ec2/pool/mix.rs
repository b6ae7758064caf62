//! All faults together, at times that a seed decides, while builds come and go
//! and the runner is killed now and then (P1, P3, P7, P8).
//!
//! `VMPOOL_SEED=17 cargo test -p vmpool-aws --test ec2 mix` plays another, or
//! one again, as far as the names of orders don't matter.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_ec2::{Fault, Policy, Rule};
use fastrand::Rng;
use jiff::SignedDuration;
use tokio::task::JoinSet;
use vmpool_aws::{Markets, Template};
use vmpool_core::pool::AcquireError;
use vmpool_core::{Pool as _, WarmPool};

use super::wide;
use super::world::{KEY, World, prepare, request};
use crate::support::template;

const SEEDS: std::ops::Range<u64> = 0..4;
const WARM: u32 = 5;
const LIMIT: u32 = 14;
const ROUNDS: u32 = 30;

/// Whatever a request was told, one of these was the reason.
const REASONS: [&str; 12] = [
    "two listings show no machine of it",
    "the provider had no capacity",
    "the provider throttles",
    "InsufficientInstanceCapacity",
    "RequestLimitExceeded",
    "UnauthorizedOperation",
    "InternalError",
    "OperationNotPermitted",
    "the answer is lost",
    "EC2 reclaimed the spot instance",
    "its power is off",
    "Client.UserInitiatedShutdown",
];

#[tokio::test(start_paused = true)]
async fn p1_p3_p7_p8_whatever_happens_at_once_nothing_leaks_and_each_request_ends() {
    match std::env::var("VMPOOL_SEED") {
        Ok(seed) => history(seed.parse().expect("a number")).await,
        Err(_) => {
            for seed in SEEDS {
                history(seed).await;
            }
        }
    }
}

async fn history(seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let template = if rng.bool() { template() } else { wide() };
    let markets = [Markets::OnDemand, Markets::Spot, Markets::SpotThenOnDemand];
    let world = World::new(Template {
        markets: markets[rng.usize(..markets.len())],
        ..template
    })
    .await;
    let mut pool = world.pool(WARM, LIMIT).await;
    let mut builds = BTreeSet::new();
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_secs(rng.u64(5..120))).await;
        harm(&world, &mut rng);
        if rng.u32(..6) == 0 {
            // In mid-air, whatever it does.
            drop(pool);
            tokio::time::sleep(Duration::from_secs(rng.u64(0..60))).await;
            pool = world.pool(WARM, LIMIT).await;
        }
        ask(&pool, round, &mut rng, &mut builds).await;
        let over: Vec<String> = builds.iter().filter(|_| rng.bool()).cloned().collect();
        for stage in over {
            pool.release(&stage.as_str().into())
                .await
                .expect("released");
            builds.remove(&stage);
        }
    }
    world.plenty();
    world.cloud().policy(KEY, Policy::default());
    world.cloud().with(|cloud, _| cloud.faults.clear());
    for stage in builds {
        pool.release(&stage.as_str().into())
            .await
            .expect("released");
    }
    world.settled(&pool).await;
    world.end(pool).await;
}

/// A few builds ask at once. Each gets a machine, or a reason of EC2's.
async fn ask(pool: &WarmPool, round: u32, rng: &mut Rng, builds: &mut BTreeSet<String>) {
    let mut asking = JoinSet::new();
    for n in 0..rng.u32(..5) {
        let stage = format!("build-{round}-{n}");
        let request = request(&stage, Duration::from_secs(rng.u64(30..240)));
        let pool = pool.clone();
        asking.spawn(async move { (stage, pool.acquire(request).await) });
    }
    for (stage, got) in asking.join_all().await {
        match got {
            Ok(lease) => {
                prepare(pool, lease.stage()).await;
                builds.insert(stage);
            }
            Err(AcquireError::Deadline {
                evidence, waited, ..
            }) => {
                // Where all went well it is on its way, or the limit is reached.
                let stands = &evidence.last().expect("how its pool stands").text;
                let told = !stands.contains("0 boot and 0 are ordered")
                    || stands.contains("slots are taken")
                    || evidence.iter().any(|evidence| {
                        REASONS.iter().any(|reason| evidence.text.contains(reason))
                    });
                assert!(told, "{stage} after {waited:?}: {evidence:#?}");
            }
            Err(error) => panic!("{stage}: {error}"),
        }
    }
}

fn harm(world: &World, rng: &mut Rng) {
    let cloud = world.cloud();
    let now = cloud.clock().now();
    let a_while = now + SignedDuration::from_secs(rng.i64(10..180));
    let error = |code: &str| Fault::Error {
        code: code.to_owned(),
        message: String::new(),
    };
    let some: Vec<String> = world.alive().into_iter().filter(|_| rng.bool()).collect();
    match rng.u32(..14) {
        0 => cloud.fault(Rule::any(Fault::LoseAnswer).until(a_while).with_chance(0.3)),
        1 => cloud.fault(Rule::on("RunInstances", Fault::LoseAnswer).times(2)),
        2 => cloud.fault(Rule::on("CreateFleet", Fault::LoseAnswer).times(2)),
        3 => world.short(None, Some("us-east-1a")),
        4 => world.short(Some("m6i.large"), None),
        5 => world.short(None, None),
        6 => cloud.reclaim(some.iter().map(String::as_str), None),
        7 => cloud.terminate(some.iter().map(String::as_str)),
        8 => cloud.fault(Rule::any(error("RequestLimitExceeded")).until(a_while)),
        9 => cloud.policy(KEY, Policy::all_but(["ec2:RunInstances"])),
        10 => {
            let refused = error("OperationNotPermitted");
            cloud.fault(Rule::on("TerminateInstances", refused).until(a_while));
        }
        11 => {
            let code = "InternalError".to_owned();
            cloud.fault(Rule::any(Fault::ErrorAfterEffect { code }).times(3));
        }
        _ => {
            world.plenty();
            cloud.policy(KEY, Policy::default());
        }
    }
}
