//! A machine that ends leaves no process, whoever ends it (P1, P10).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;
use tokio::join;
use vmpool_core::{ListedState, Provider};

use crate::harness::{
    Agent, Embedder, Place, Stragglers, await_that, processes_of, signal, supervisor_of, unique,
    unique_number,
};

#[tokio::test(flavor = "multi_thread")]
async fn p10_terminate_ends_all_processes_and_the_disk() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let stragglers = agent.leave_stragglers();
    let disk = place.root().join(id.as_str()).join("state");
    fs::create_dir_all(disk.join("closed/deep")).expect("made");
    fs::set_permissions(disk.join("closed"), fs::Permissions::from_mode(0o000)).expect("closed");
    place.terminate(&id).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
    assert!(!disk.exists());
    assert_eq!(place.state(&id).await, Some(ListedState::Terminated));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_processes_that_shed_their_mark_end_too() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let seconds = unique_number();
    let stragglers = Stragglers(seconds.clone());
    agent.ask(&format!("run env -i setsid setsid sleep {seconds} & exit"));
    await_that("it runs", || stragglers.count() == 1);
    place.terminate(&id).await;
    assert_eq!(stragglers.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_processes_that_fork_all_the_time_end_too() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    // Each begins the next in a session of its own, and ends.
    let comet = "echo >> trace; setsid sh -c \"$0\" \"$0\" & exit";
    for _ in 0..4 {
        agent.ask(&format!("run sh -c '{comet}' '{comet}'"));
    }
    let trace = place.root().join(id.as_str()).join("state/trace");
    await_that("they are many", || {
        fs::read(&trace).is_ok_and(|trace| trace.len() > 200)
    });
    place.terminate(&id).await;
    assert_eq!(processes_of(&id), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_more_processes_than_descriptors_end_too() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let supervisor = supervisor_of(&id).to_string();
    let limited = Command::new("prlimit")
        .args(["--nofile=80", "--pid", &supervisor])
        .status();
    assert!(limited.expect("prlimit, of util-linux").success());
    let seconds = unique_number();
    agent.ask(&format!(
        "run for n in $(seq 200); do setsid sleep {seconds} & done"
    ));
    let stragglers = Stragglers(seconds);
    await_that("they all run", || stragglers.count() == 200);
    place.terminate(&id).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_terminate_is_safe_twice_at_once_and_for_what_never_was() {
    let place = Place::new();
    let (id, _agent) = place.launch_one().await;
    let other = place.other_provider();
    let ids = [
        id.clone(),
        "local-0000000000000000".into(),
        "i-0abc".into(),
        "../../etc".into(),
    ];
    let (a, b) = join!(place.provider.terminate(&ids), other.terminate(&ids));
    for mut gone in [a.expect("terminated").gone, b.expect("terminated").gone] {
        gone.sort();
        let mut ids = ids.to_vec();
        ids.sort();
        assert_eq!(gone, ids);
    }
    place.terminate(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_terminate_right_after_launch_ends_the_machine_every_time() {
    let place = Place::new();
    for _ in 0..10 {
        let id = place.launch(1, true).await.remove(0).id;
        place.terminate(&id).await;
        assert_eq!(processes_of(&id), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_agent_that_dies_takes_its_machine_with_it_and_its_last_words_are_told() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let stragglers = agent.leave_stragglers();
    agent.ask("say the disk is on fire");
    let pid = agent.pid();
    signal(pid, Signal::SIGKILL);
    place.await_state(&id, ListedState::Terminated).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
    let diagnosis = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(
        diagnosis.contains("its agent was killed by signal 9"),
        "{diagnosis}"
    );
    assert!(diagnosis.contains("the disk is on fire"), "{diagnosis}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_agent_that_exits_ends_its_machine_and_the_code_is_told() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let alive = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(alive.contains("is alive"), "{alive}");
    agent.tell("exit 3");
    place.await_state(&id, ListedState::Terminated).await;
    let diagnosis = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(
        diagnosis.contains("its agent exited with code 3"),
        "{diagnosis}"
    );
    assert_eq!(
        place
            .provider
            .diagnose(&"local-0000000000000000".into())
            .await,
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_a_killed_supervisor_leaves_is_listed_and_terminated() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let stragglers = agent.leave_stragglers();
    signal(supervisor_of(&id), Signal::SIGKILL);
    await_that("the agent follows its supervisor", || {
        processes_of(&id) == 3
    });
    assert_eq!(
        place.state(&id).await,
        Some(ListedState::Alive),
        "three processes are left"
    );
    place.terminate(&id).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
    assert!(!place.root().join(id.as_str()).join("state").exists());
    assert_eq!(place.state(&id).await, Some(ListedState::Terminated));
    let diagnosis = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(
        diagnosis.contains("its supervisor was killed"),
        "{diagnosis}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_disk_of_a_machine_that_nobody_ended_is_removed_by_a_listing() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    // From then on it has its disk.
    agent.ask("who");
    let disk = place.root().join(id.as_str()).join("state");
    fs::create_dir_all(disk.join("closed/deep")).expect("made");
    fs::set_permissions(disk.join("closed"), fs::Permissions::from_mode(0o000)).expect("closed");
    signal(supervisor_of(&id), Signal::SIGKILL);
    await_that("the agent follows its supervisor", || {
        processes_of(&id) == 0
    });
    assert_eq!(place.state(&id).await, Some(ListedState::Terminated));
    assert!(!disk.exists());
    let left = fs::read_dir(place.root()).expect("the root").count();
    assert_eq!(left, 1, "what became of it can still be told");
    let diagnosis = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(
        diagnosis.contains("its supervisor was killed"),
        "{diagnosis}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_stopped_supervisor_ends_its_machine() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let stragglers = agent.leave_stragglers();
    signal(supervisor_of(&id), Signal::SIGSTOP);
    place.terminate(&id).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_killing_the_embedder_ends_its_attached_machines_and_leaves_nothing() {
    let place = Place::new();
    let mut embedder = Embedder::launch(&place, &unique("order"), "attached", 2);
    let stragglers: Vec<_> = embedder
        .machines
        .iter()
        .map(|(_, address)| Agent::dial(*address).leave_stragglers())
        .collect();
    embedder.kill();
    for ((id, _), stragglers) in embedder.machines.iter().zip(&stragglers) {
        await_that("the machine's processes are gone", || {
            processes_of(id) == 0 && stragglers.count() == 0
        });
        assert!(
            !place.root().join(id.as_str()).exists(),
            "nobody will ask for it"
        );
    }
    assert!(place.list().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_provider_ends_attached_machines_and_leaves_detached_ones() {
    let place = Place::new();
    let other = place.other_provider();
    let owner = place.owner.as_str();
    let attached = crate::order::order(&other, owner, &unique("order"), 1, true);
    let detached = crate::order::order(&other, owner, &unique("order"), 1, false);
    let attached = other.launch(&attached).await.machines.remove(0);
    let detached = other.launch(&detached).await.machines.remove(0);
    drop(other);
    await_that("the attached one ends", || processes_of(&attached.id) == 0);
    assert_eq!(place.state(&detached.id).await, Some(ListedState::Alive));
    Agent::dial(detached.address.expect("an address")).ask("who");
    place.terminate(&detached.id).await;
}
