//! A runner that is killed in any call of a pool's life, before EC2 heard of
//! it and after: its successor goes on (P1, P7).

use std::time::Duration;

use vmpool_aws::Template;
use vmpool_core::{Pool as _, WarmPool};

use super::wide;
use super::wire::Moment;
use super::world::{World, claim, until};
use crate::support::template;

const WARM: u32 = 3;
const LIMIT: u32 = 6;

/// A pool fills, two builds come and go, and it fills again.
async fn live(pool: &WarmPool) {
    until(pool, "full pool", |status| status.ready == WARM).await;
    for stage in ["one", "two"] {
        claim(pool, stage).await;
    }
    for stage in ["one", "two"] {
        pool.release(&stage.into()).await.expect("released");
    }
    until(pool, "full pool", |status| status.ready == WARM).await;
    until(pool, "their end", |status| status.ending == 0).await;
}

/// In each call up to the last of an undisturbed life.
async fn killed_in_any_call(template: &Template) {
    for call in 1.. {
        let mut over = 0;
        for moment in [Moment::Before, Moment::After] {
            let world = World::new(template.clone()).await;
            world.wire.kill_in(call, moment);
            let pool = world.pool(WARM, LIMIT).await;
            let lived = tokio::select! {
                () = world.wire.killed() => false,
                () = live(&pool) => true,
            };
            over += u32::from(lived);
            drop(pool);
            // Down for a while.
            tokio::time::sleep(Duration::from_secs(30)).await;
            let pool = world.pool(WARM, LIMIT).await;
            for stage in ["one", "two"] {
                pool.release(&stage.into()).await.expect("released");
            }
            world.settled(&pool).await;
            world.end(pool).await;
        }
        if over == 2 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_runner_killed_in_any_call_of_a_pool_in_one_place_leaks_nothing() {
    killed_in_any_call(&template()).await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_runner_killed_in_any_call_of_a_pool_in_several_places_leaks_nothing() {
    killed_in_any_call(&wide()).await;
}
