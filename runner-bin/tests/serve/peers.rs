//! Two runners on one PostgreSQL: what comes to the wrong one is passed on, and
//! what one leaves the other goes on with (P2, P4, P9).

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::fleet::{Fleet, Member, insist};
use crate::support::{setup, step, wait_for};

/// Builds at a time, more than there may be machines.
const BUILDS: usize = 20;

/// A runner that is stopped as long as this has lost its pool (its lease lasts
/// 5 s). By hand: `VMPOOL_TEST_PAUSE=30`, in seconds.
const PAUSE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn p9_a_request_that_comes_to_the_wrong_runner_is_answered_by_the_right_one() {
    let fleet = Fleet::new(1, 3).await;
    let (one, two) = (fleet.runner("one").await, fleet.runner("two").await);
    assert_eq!(fleet.owner().await.as_ref(), Some(&one.url));

    let passed_on = two.post("/setup", &setup("s")).await.expect("an answer");
    let direct = one.post("/setup", &setup("s")).await.expect("an answer");
    assert_eq!(passed_on.machine(), direct.machine());

    let run = step("s", "hi", "echo hello; exit 3");
    let passed_on = two.post("/step", &run).await.expect("an answer");
    assert_eq!(
        passed_on.json(),
        json!({"exited": true, "exit_code": 3, "error": "exit status 3"})
    );
    assert_eq!(fleet.site.log("s", "hi"), "hello\n");
    let again = one.post("/step", &run).await.expect("an answer");
    assert_eq!(again.body, passed_on.body);

    // So is a refusal, word for word.
    let other = step("s", "hi", "echo other");
    let refused = two.post("/step", &other).await.expect("an answer");
    assert_eq!(refused.status, 400, "{refused:?}");
    let direct = one.post("/step", &other).await.expect("an answer");
    assert_eq!(refused.body, direct.body);

    for member in [&one, &two] {
        let asked = member.post("/pool_owner?pool=linux&stageId=s", &json!(null));
        let owns = asked.await.expect("an answer").json();
        assert_eq!(owns, json!({"owner": true}));
    }
    let destroyed = two.post("/destroy", &json!({"id": "s"})).await;
    assert_eq!(destroyed.expect("an answer").status, 200);
    assert!(one.process.stop().await.success());
    assert!(two.process.stop().await.success());
}

#[tokio::test]
async fn p4_one_of_two_runners_is_killed_in_the_middle_of_20_builds_and_all_end_well() {
    let fleet = Fleet::new(2, 8).await;
    let (one, two) = (fleet.runner("one").await, fleet.runner("two").await);
    let running = step("long", "long", LONG);
    let callers = [&one, &two];
    insist(&callers, "/setup", &setup("long")).await.machine();
    let long = insist(&callers, "/step", &running);
    let killed = async {
        wait_for("builds in their middle", async || {
            (ran(&fleet).len() >= BUILDS / 3).then_some(())
        })
        .await;
        one.process.signal(Signal::SIGKILL);
        let died = Instant::now();
        let before = fleet.site.log("long", "long").len();
        wait_for("the first step to be attached to again", async || {
            (fleet.site.log("long", "long").len() > before).then_some(())
        })
        .await;
        died.elapsed()
    };
    let (took, long, machines) = tokio::join!(killed, long, all_builds(&fleet, &one, &two));
    println!("the first step was attached to again {took:?} after its runner was killed");
    assert_eq!(long.json(), json!({"exited": true}));
    assert_eq!(fleet.site.log("long", "long"), whole_log());
    assert_eq!(
        machines.len(),
        BUILDS,
        "no machine served two: {machines:?}"
    );
    assert_eq!(fleet.owner().await.as_ref(), Some(&two.url));
    insist(&[&two], "/destroy", &json!({"id": "long"})).await;
    let story = fleet.explain("long");
    for told in ["claimed", "taken over", "has the pool now, under term"] {
        assert!(story.contains(told), "{told}: {story}");
    }
    assert!(two.process.stop().await.success());
}

#[tokio::test]
async fn p2_a_runner_that_is_stopped_for_a_while_and_goes_on_does_no_harm() {
    let pause = std::env::var("VMPOOL_TEST_PAUSE").ok();
    let pause = pause.map_or(PAUSE, |seconds| {
        Duration::from_secs(seconds.parse().expect("VMPOOL_TEST_PAUSE is in seconds"))
    });
    let fleet = Fleet::new(2, 8).await;
    let (one, two) = (fleet.runner("one").await, fleet.runner("two").await);
    let running = step("long", "long", LONG);
    insist(&[&one], "/setup", &setup("long")).await.machine();
    // Its caller stays with the runner that is stopped.
    let long = one.post("/step", &running);
    let stopped = async {
        wait_for("builds in their middle", async || {
            (ran(&fleet).len() >= BUILDS / 3).then_some(())
        })
        .await;
        one.process.signal(Signal::SIGSTOP);
        let until = Instant::now() + pause;
        wait_for("the other one to take over", async || {
            (fleet.owner().await.as_ref() == Some(&two.url)).then_some(())
        })
        .await;
        tokio::time::sleep_until(until.into()).await;
        one.process.signal(Signal::SIGCONT);
    };
    let ((), long, machines) = tokio::join!(stopped, long, all_builds(&fleet, &two, &one));
    let long = long.expect("an answer");
    assert_eq!(
        long.json(),
        json!({"exited": true}),
        "{}",
        fleet.site.said()
    );
    assert_eq!(fleet.site.log("long", "long"), whole_log());
    assert_eq!(
        machines.len(),
        BUILDS,
        "no machine served two: {machines:?}"
    );
    // It knows whose the pool is, and passes on what it is asked.
    assert_eq!(fleet.owner().await.as_ref(), Some(&two.url));
    let late = one.post("/setup", &setup("late")).await;
    let late = late.expect("an answer").machine();
    assert!(!machines.contains(&late), "{late} served before");
    for stage in ["late", "long"] {
        let destroyed = one.post("/destroy", &json!({"id": stage})).await;
        assert_eq!(destroyed.expect("an answer").status, 200);
    }
    assert_eq!(fleet.owner().await.as_ref(), Some(&two.url));
    assert!(one.process.stop().await.success());
    assert!(two.process.stop().await.success());
}

/// A step that is running however late its runner is killed.
const LONG: &str = "for i in $(seq 150); do echo line $i; sleep 0.1; done";

fn whole_log() -> String {
    let lines: Vec<_> = (1..=150).map(|n| format!("line {n}\n")).collect();
    lines.concat()
}

/// Which steps were started on machines, as they say so themselves.
fn ran(fleet: &Fleet) -> Vec<String> {
    let text = fs::read_to_string(fleet.site.path().join("ran")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// Runs all builds to their ends, each by callers that ask `first` first; gives
/// the machines that they had.
async fn all_builds(fleet: &Fleet, first: &Member, second: &Member) -> BTreeSet<String> {
    let builds = (0..BUILDS).map(|n| async move {
        // Half of them come to the wrong runner.
        let members = if n % 2 == 0 {
            [first, second]
        } else {
            [second, first]
        };
        build(fleet, &members, &format!("build-{n}")).await
    });
    let machines = futures_util::future::join_all(builds).await;
    let ran = ran(fleet);
    let once: BTreeSet<_> = ran.iter().collect();
    assert_eq!(ran.len(), once.len(), "a step ran twice: {ran:?}");
    assert_eq!(ran.len(), BUILDS * STEPS.len());
    machines.into_iter().collect()
}

const STEPS: [&str; 2] = ["make", "test"];

async fn build(fleet: &Fleet, members: &[&Member], stage: &str) -> String {
    let machine = insist(members, "/setup", &setup(stage)).await.machine();
    let note = fleet.site.path().join("ran");
    for id in STEPS {
        let script = format!(
            "echo {stage} {id} >> {}; echo begun; sleep 1; echo done",
            note.display()
        );
        let ended = insist(members, "/step", &step(stage, id, &script)).await;
        assert_eq!(ended.json(), json!({"exited": true}), "{stage} {id}");
        assert_eq!(fleet.site.log(stage, id), "begun\ndone\n", "{stage} {id}");
    }
    // After a retry it is the same machine still.
    let again = insist(members, "/setup", &setup(stage)).await.machine();
    assert_eq!(again, machine, "{stage}");
    let destroyed = insist(members, "/destroy", &json!({"id": stage})).await;
    assert_eq!(destroyed.status, 200, "{destroyed:?}");
    machine
}
