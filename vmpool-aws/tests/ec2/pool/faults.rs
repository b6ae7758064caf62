//! Each fault of EC2's by itself. After it nothing is leaked (P1), the limit
//! held (P7), each request ended with a reason that names what EC2 said (P3),
//! and the pool is full again.

use std::time::Duration;

use fake_ec2::{Fault, Policy, Rule};
use jiff::SignedDuration;
use vmpool_aws::{Markets, Template};
use vmpool_core::Pool as _;

use super::wide;
use super::world::{KEY, World, claim, end_of, request, until};
use crate::support::{template, zones};

const WARM: u32 = 4;
const LIMIT: u32 = 8;

fn spot() -> Template {
    Template {
        markets: Markets::Spot,
        ..template()
    }
}

/// Each action fails with this error for so long.
fn fails(world: &World, action: Option<&str>, code: &str, minutes: i64) {
    let (code, message) = (code.to_owned(), String::new());
    let fault = Rule::any(Fault::Error { code, message });
    let until = world.cloud().clock().now() + SignedDuration::from_mins(minutes);
    let action = action.map(str::to_owned);
    let rule = Rule { action, ..fault }.until(until);
    world.cloud().fault(rule);
}

#[tokio::test(start_paused = true)]
async fn p1_launches_whose_answer_request_or_end_is_lost() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::ErrorAfterEffect {
            code: "InternalError".to_owned(),
        },
        Fault::Slow { by_ms: 45_000 },
    ] {
        for (template, action) in [(template(), "RunInstances"), (wide(), "CreateFleet")] {
            let world = World::new(template).await;
            world
                .cloud()
                .fault(Rule::on(action, fault.clone()).times(3));
            let pool = world.pool(WARM, LIMIT).await;
            claim(&pool, "build").await;
            until(&pool, "full pool", |status| status.ready == WARM).await;
            pool.release(&"build".into()).await.expect("released");
            world.settled(&pool).await;
            world.end(pool).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_launch_that_is_never_answered_is_settled_by_listings() {
    let world = World::new(template()).await;
    let pool = world.pool(WARM, LIMIT).await;
    world.settled(&pool).await;
    world
        .cloud()
        .fault(Rule::on("RunInstances", Fault::LoseAnswer).times(100));
    claim(&pool, "build").await;
    tokio::time::sleep(Duration::from_mins(20)).await;
    world.cloud().with(|cloud, _| cloud.faults.clear());
    pool.release(&"build".into()).await.expect("released");
    world.settled(&pool).await;
    world.end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn no_capacity_in_one_zone_or_in_one_type_costs_nobody_a_machine() {
    for (instance_type, zone) in [(Some("m6i.large"), None), (None, Some("us-east-1a"))] {
        let world = World::new(wide()).await;
        world.short(instance_type, zone);
        let pool = world.pool(WARM, LIMIT).await;
        claim(&pool, "build").await;
        world.plenty();
        pool.release(&"build".into()).await.expect("released");
        world.settled(&pool).await;
        world.end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p3_no_capacity_anywhere_is_told_in_ec2s_words_and_ends() {
    for template in [template(), wide(), spot()] {
        let world = World::new(template).await;
        let pool = world.pool(1, LIMIT).await;
        until(&pool, "full pool", |status| status.ready == 1).await;
        world.short(None, None);
        claim(&pool, "first").await;
        let wait = Duration::from_mins(2);
        let refused = pool.acquire(request("second", wait)).await;
        let told = refused.expect_err("no machine").to_string();
        assert!(told.contains("InsufficientInstanceCapacity"), "{told}");
        let held_off = pool.status().held_off.unwrap_or_default();
        assert!(held_off.contains("no capacity"), "{held_off}");
        let asked = world.calls("RunInstances") + world.calls("CreateFleet");
        assert!(asked < 40, "P8: {asked} calls");
        world.plenty();
        pool.release(&"first".into()).await.expect("released");
        world.settled(&pool).await;
        world.end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_reclaimed_spot_machine_is_replaced_and_its_build_is_told() {
    let world = World::new(spot()).await;
    let pool = world.pool(WARM, LIMIT).await;
    until(&pool, "full pool", |status| status.ready == WARM).await;
    let lease = claim(&pool, "build").await;
    let mut taken: Vec<_> = world.alive().into_iter().take(2).collect();
    taken.push(lease.machine().id.to_string());
    world
        .cloud()
        .reclaim(taken.iter().map(String::as_str), None);
    let told = end_of(&pool, "build").await;
    assert!(told.contains("reclaimed the spot instance"), "{told}");
    assert!(told.contains("Server.SpotInstanceTermination"), "{told}");
    world.settled(&pool).await;
    assert!(world.alive().is_disjoint(&taken.into_iter().collect()));
    world.end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_machine_terminated_from_the_console_is_replaced_and_its_build_is_told() {
    let world = World::new(template()).await;
    let pool = world.pool(WARM, LIMIT).await;
    until(&pool, "full pool", |status| status.ready == WARM).await;
    claim(&pool, "build").await;
    let all = world.alive();
    world.cloud().terminate(all.iter().map(String::as_str));
    let told = end_of(&pool, "build").await;
    assert!(told.contains("Client.UserInitiatedShutdown"), "{told}");
    world.settled(&pool).await;
    assert!(world.alive().is_disjoint(&all));
    world.end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn p3_p8_throttled_for_a_minute() {
    let world = World::new(template()).await;
    let pool = world.pool(1, LIMIT).await;
    world.settled(&pool).await;
    let before = world.wire.calls();
    fails(&world, None, "RequestLimitExceeded", 1);
    claim(&pool, "first").await;
    let refused = pool
        .acquire(request("second", Duration::from_secs(20)))
        .await;
    let told = refused.expect_err("no machine").to_string();
    assert!(told.contains("RequestLimitExceeded"), "{told}");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let asked = world.wire.calls() - before;
    assert!(asked < 40, "P8: {asked} calls");
    claim(&pool, "third").await;
    for stage in ["first", "third"] {
        pool.release(&stage.into()).await.expect("released");
    }
    world.settled(&pool).await;
    world.end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn p3_p8_a_permission_that_is_removed_is_told_and_missed_rarely_until_it_is_back() {
    let world = World::new(template()).await;
    let pool = world.pool(2, LIMIT).await;
    until(&pool, "full pool", |status| status.ready == 2).await;
    world
        .cloud()
        .policy(KEY, Policy::all_but(["ec2:RunInstances"]));
    for stage in ["first", "second"] {
        // What is warm is still handed out.
        claim(&pool, stage).await;
    }
    let refused = pool.acquire(request("third", Duration::from_mins(5))).await;
    let told = refused.expect_err("no machine").to_string();
    assert!(told.contains("UnauthorizedOperation"), "{told}");
    let held_off = pool.status().held_off.unwrap_or_default();
    assert!(held_off.contains("UnauthorizedOperation"), "{held_off}");
    let asked = world.calls("RunInstances");
    assert!(asked < 20, "P8: {asked} calls");
    world.cloud().policy(KEY, Policy::default());
    for stage in ["first", "second"] {
        pool.release(&stage.into()).await.expect("released");
    }
    world.settled(&pool).await;
    world.end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_machines_whose_end_is_refused_keep_their_slots_until_they_are_gone() {
    for (policy, code) in [
        (
            Some(Policy::all_but(["ec2:TerminateInstances"])),
            "UnauthorizedOperation",
        ),
        (None, "OperationNotPermitted"),
    ] {
        let world = World::new(template()).await;
        let pool = world.pool(2, 3).await;
        until(&pool, "full pool", |status| status.ready == 2).await;
        if let Some(policy) = policy {
            world.cloud().policy(KEY, policy);
        } else {
            fails(&world, Some("TerminateInstances"), code, 20);
        }
        for n in 0..3 {
            let stage = format!("build-{n}");
            claim(&pool, &stage).await;
            pool.release(&stage.as_str().into())
                .await
                .expect("released");
        }
        let wait = Duration::from_mins(2);
        let refused = pool.acquire(request("no-slot", wait)).await;
        let told = refused.expect_err("no slot").to_string();
        assert!(told.contains(code), "{told}");
        tokio::time::sleep(Duration::from_mins(20)).await;
        world.cloud().policy(KEY, Policy::default());
        world.settled(&pool).await;
        world.end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn spot_without_capacity_is_on_demand_instead() {
    let world = World::new(Template {
        markets: Markets::SpotThenOnDemand,
        zones: zones("ab"),
        ..template()
    })
    .await;
    world.cloud().with(|cloud, _| {
        let limits = cloud.limits_mut(fake_ec2::DEFAULT_ACCOUNT);
        let spot = Some(fake_ec2::Market::Spot);
        limits
            .capacity
            .push(fake_ec2::Capacity::none(None, None, spot));
    });
    let pool = world.pool(WARM, LIMIT).await;
    claim(&pool, "build").await;
    pool.release(&"build".into()).await.expect("released");
    world.settled(&pool).await;
    world.end(pool).await;
}
