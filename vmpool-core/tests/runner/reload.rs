//! A runner that is given other pools while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use vmpool_core::machine::MachineState;
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::{PoolOwner, PoolSource, RunnerError, Sharing};
use vmpool_core::testkit::{FakeProvider, eventually};
use vmpool_core::{
    Capabilities, Journal as _, LaunchOrder, LaunchOutcome, Listing, MachineId, OrderDraft, Owner,
    PoolConfig, Provider, ProviderError, SecretBytes, Terminating,
};

use crate::harness::{At, POOL, World, exited, request, stage};

/// The same cloud, asked for machines of another template.
struct OfTemplate(&'static str, Arc<FakeProvider>);

#[async_trait]
impl Provider for OfTemplate {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            spec: self.0.into(),
            ..self.1.capabilities()
        }
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        self.1.render(draft)
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        self.1.launch(order).await
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        self.1.list(owner).await
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        self.1.terminate(ids).await
    }
}

fn of_template(world: &World, template: &'static str) -> PoolSource {
    PoolSource {
        provider: Arc::new(OfTemplate(template, world.provider.clone())),
        ..world.source()
    }
}

/// The templates of the pool's machines that are not over.
async fn templates(world: &World) -> Vec<String> {
    let rows = world
        .rows
        .pool(&POOL.into())
        .await
        .expect("it is in memory");
    let live = rows.machines.iter().filter(|row| row.state.occupies_slot());
    let spec = live.map(|row| row.spec.as_deref().expect("it was launched").to_owned());
    spec.collect()
}

fn ready(of: u32) -> impl Fn(&PoolStatus) -> bool {
    move |status| status.ready == of && status.machines.len() == of as usize
}

/// Waits until all machines are of the template, `warm` of them ready.
async fn until_all_are_of(world: &World, at: &At, template: &str, warm: u32) {
    loop {
        at.until("they are ready", ready(warm)).await;
        if templates(world).await.iter().all(|of| of == template) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_another_size_keeps_its_machines_and_gets_more_or_ends_some() {
    let mut world = World::new(2, 3);
    let at = world.runner().await;
    at.until("two are ready", ready(2)).await;
    let before = world.provider.alive();
    (world.config.warm, world.config.limit) = (5, 6);
    let reloaded = at.runner.reload(vec![world.source()]).expect("it is right");
    assert_eq!(reloaded.resized, [POOL.into()]);
    assert_eq!((reloaded.begun.len(), reloaded.renewed.len()), (0, 0));
    at.until("five are ready", ready(5)).await;
    let after = world.provider.alive();
    assert!(before.iter().all(|id| after.contains(id)), "they stay");
    world.config.warm = 1;
    at.runner.reload(vec![world.source()]).expect("it is right");
    at.until("one is left", ready(1)).await;
    let same = at.runner.reload(vec![world.source()]).expect("it is right");
    assert!(same.is_empty(), "{same:?}");
    world.end(at).await;
}

/// With room for one more, never fewer are ready than wanted, and no more are
/// launched at once than a tenth of them.
#[tokio::test(start_paused = true)]
async fn p7_machines_of_an_old_template_are_replaced_a_few_at_a_time_and_none_is_missed() {
    for (warm, limit) in [(1, 2), (3, 4), (5, 5), (1, 1), (25, 40)] {
        let world = World::new(warm, limit);
        let at = world.runner().await;
        at.until("they are ready", ready(warm)).await;
        at.runner
            .reload(vec![of_template(&world, "new")])
            .expect("it is right");
        let (fewest, most) = (Arc::new(AtomicU32::new(warm)), Arc::new(AtomicU32::new(0)));
        let mut looks = JoinSet::new();
        looks.spawn({
            let (runner, fewest, most) = (at.runner.clone(), fewest.clone(), most.clone());
            async move {
                let mut changes = runner.changes();
                while changes.changed().await.is_ok() {
                    let Some(status) = runner.status().remove(0).status else {
                        continue;
                    };
                    fewest.fetch_min(status.ready, Ordering::Relaxed);
                    most.fetch_max(status.booting + status.ordered, Ordering::Relaxed);
                    let all = u32::try_from(status.machines.len()).expect("few");
                    assert!(all + status.ordered <= limit, "P7: {status:?}");
                }
            }
        });
        until_all_are_of(&world, &at, "new", warm).await;
        looks.abort_all();
        while let Some(ended) = looks.join_next().await {
            assert!(
                ended.is_err_and(|error| error.is_cancelled()),
                "a look failed"
            );
        }
        let least = if warm < limit { warm } else { warm - 1 };
        assert!(fewest.load(Ordering::Relaxed) >= least, "{warm} of {limit}");
        assert!(most.load(Ordering::Relaxed) <= warm.div_ceil(10), "{warm}");
        world.end(at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_busy_machine_of_an_old_template_finishes_its_stage() {
    let world = World::new(2, 6);
    let at = world.runner().await;
    at.until("they are ready", ready(2)).await;
    let lease = at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    let reloaded = at.runner.reload(vec![of_template(&world, "new")]);
    assert_eq!(reloaded.expect("it is right").renewed, [POOL.into()]);
    at.owns().await;
    // Its step goes on, and is asked for as if nothing had happened.
    let ended = loop {
        match at.try_step("build-1", "make").await {
            Err(RunnerError::NotOurs { .. }) => tokio::time::sleep(Duration::from_secs(1)).await,
            ended => break ended.expect("it ends"),
        }
    };
    assert_eq!(ended.status, exited(0));
    assert_eq!(world.starts("build-1", "make").await, 1);
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    assert!(world.provider.alive().contains(lease.machine_id()));
    at.destroy("build-1").await;
    until_all_are_of(&world, &at, "new", 2).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_given_no_more_ends_as_its_last_stage_does() {
    let world = World::new(2, 6);
    let at = world.runner().await;
    at.until("they are ready", ready(2)).await;
    at.setup("build-1").await;
    let other = PoolSource {
        config: PoolConfig::new("other", 0, 1),
        ..world.source()
    };
    let reloaded = at.runner.reload(vec![other.clone()]).expect("it is right");
    assert_eq!(reloaded.retired, [POOL.into()]);
    assert_eq!(reloaded.begun, ["other".into()]);
    at.until("the busy one is left", |status| {
        status.machines.len() == 1 && status.claimed == 1
    })
    .await;
    let refused = at.try_setup("build-2").await.expect_err("it takes none");
    assert!(
        format!("{refused:?}").contains("configuration no more"),
        "{refused:?}"
    );
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    at.destroy("build-1").await;
    let show = || format!("{:?}", at.runner.status());
    eventually(show, || at.owner() == PoolOwner::Unknown).await;
    assert_eq!(world.provider.alive(), []);
    let refused = at.try_setup("build-2").await;
    assert!(
        matches!(refused, Err(RunnerError::UnknownPool { .. })),
        "{refused:?}"
    );
    // Given again, it begins again.
    let reloaded = at.runner.reload(vec![world.source(), other]);
    assert_eq!(reloaded.expect("it is right").begun, [POOL.into()]);
    at.owns().await;
    eventually(show, || world.provider.alive().len() == 2).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_comes_back_before_it_is_gone_has_its_busy_machine_still() {
    let world = World::new(1, 3);
    let at = world.shared("one").await;
    let lease = at.setup("build-1").await;
    at.runner.reload(Vec::new()).expect("it is right");
    at.until("the busy one is left", |status| status.machines.len() == 1)
        .await;
    at.runner.reload(vec![world.source()]).expect("it is right");
    at.until("another is ready", |status| {
        status.ready == 1 && status.stopped.is_none()
    })
    .await;
    let again = at
        .runner
        .setup(request("build-1"))
        .await
        .expect("it has one");
    assert_eq!(again.machine_id(), lease.machine_id());
    let record = world.record("build-1").await;
    assert!(!record.stage.state.is_ended());
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p13_pools_that_contradict_each_other_change_nothing() {
    let world = World::new(1, 3);
    let at = world.runner_with("alone", Sharing::Alone, None).await;
    at.until("it is ready", ready(1)).await;
    let twice = at.runner.reload(vec![world.source(), world.source()]);
    let error = twice.expect_err("it is there twice").to_string();
    assert_eq!(error, "pool linux is given twice");
    assert_eq!(at.status().ready, 1);
    assert!(at.runner.destroy(&stage("none")).await.is_ok());
    let rows = world
        .rows
        .pool(&POOL.into())
        .await
        .expect("it is in memory");
    assert!(
        rows.machines
            .iter()
            .all(|row| row.state == MachineState::Ready)
    );
    world.end(at).await;
}
