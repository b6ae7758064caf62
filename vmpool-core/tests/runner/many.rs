//! Many builds at once, on threads and real time, while their runner dies.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use vmpool_core::StepOutcome;
use vmpool_core::runner::{LeaseTimes, RunnerError, Sharing};
use vmpool_core::testkit::SimStep;

use crate::gate::Way;
use crate::harness::{At, World, exited};

const BUILDS: usize = 40;
const STEPS: [&str; 3] = ["fetch", "make", "test"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p9_builds_survive_their_runner_and_no_step_of_theirs_runs_twice() {
    let world = World::new(4, 12);
    world.agents.script(|step| {
        let milliseconds = Duration::from_millis;
        SimStep::exits(0)
            .prints(format!("{} begins\n", step.id))
            .prints_after(milliseconds(5), format!("{} ends\n", step.id))
            .takes(milliseconds(10))
    });
    let sharing = Sharing::Shared(LeaseTimes {
        lease: Duration::from_millis(500),
        renew_every: Duration::from_millis(100),
        stop_after: Duration::from_millis(400),
    });
    let world = Arc::new(world);
    let one = world.runner_with("one", sharing, None).await;
    let two = world.runner_with("two", sharing, None).await;
    let mut builds = JoinSet::new();
    for number in 0..BUILDS {
        let (world, one, two) = (world.clone(), one.clone(), two.clone());
        builds.spawn(async move {
            let stage = format!("build-{number}");
            let mut runners = [one, two];
            let set_up = stage.clone();
            retried(&mut runners, move |at: At| {
                let stage = set_up.clone();
                async move { at.try_setup(&stage).await.map(drop) }
            })
            .await;
            for step in STEPS {
                let of = stage.clone();
                let run = move |at: At| {
                    let stage = of.clone();
                    async move { at.try_step(&stage, step).await }
                };
                let outcome: StepOutcome = retried(&mut runners, run).await;
                assert_eq!(outcome.status, exited(0));
                assert_eq!(world.starts(&stage, step).await, 1, "{stage} {step}");
                let log = format!("{step} begins\n{step} ends\n");
                assert_eq!(world.text(&stage, step), log);
            }
            let destroyed = move |at: At| {
                let id = stage.as_str().into();
                async move { at.runner.destroy(&id).await }
            };
            retried(&mut runners, destroyed).await;
        });
    }
    // As a process that is stopped for good while all of that goes on.
    one.until("some build runs", |status| status.claimed > 4)
        .await;
    one.gate.set(Way::Hangs);
    let ended = timeout(Duration::from_secs(60), async {
        while let Some(build) = builds.join_next().await {
            build.expect("the build is as it should be");
        }
    });
    ended.await.expect("all builds end");
    drop(one);
    let left = two.runner.shutdown(Duration::from_secs(60)).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.provider.alive(), []);
}

/// Makes a call at one runner, then at the other, until one does it; asks that
/// one first from then on.
async fn retried<T, F>(runners: &mut [At; 2], call: impl Fn(At) -> F) -> T
where
    F: Future<Output = Result<T, RunnerError>>,
{
    loop {
        match timeout(Duration::from_secs(2), call(runners[0].clone())).await {
            Ok(Ok(done)) => return done,
            Ok(Err(error)) => assert!(may_be_retried(&error), "{error:?}"),
            // As a connection that is given up.
            Err(_) => {}
        }
        runners.swap(0, 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn may_be_retried(error: &RunnerError) -> bool {
    let said = error.to_string();
    matches!(error, RunnerError::NotOurs { .. } | RunnerError::Journal(_))
        || said.contains("the test says so")
        || said.contains("renewed in time")
        || said.contains("obeys term")
        || said.contains("is ruled under term")
}
