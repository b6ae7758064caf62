//! The same order gets the same machines (P1, P9).

use std::collections::HashSet;

use tokio::join;
use vmpool_core::{ErrorKind, ListedState, Provider, SecretBytes};

use crate::harness::{Agent, Embedder, Place, processes_of, unique};
use crate::order::order;

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_order_launched_again_gets_the_same_machines() {
    let place = Place::new();
    let order = order(
        &place.provider,
        place.owner.as_str(),
        &unique("order"),
        3,
        true,
    );
    let first = place.provider.launch(&order).await.machines;
    assert_eq!(
        first
            .iter()
            .map(|machine| &machine.id)
            .collect::<HashSet<_>>()
            .len(),
        3
    );
    assert_eq!(place.provider.launch(&order).await.machines, first);
    assert_eq!(place.other_provider().launch(&order).await.machines, first);
    for machine in &first {
        let who = Agent::dial(machine.address.expect("an address")).ask("who");
        assert!(who.ends_with(machine.id.as_str()), "{who}");
        assert_eq!(processes_of(&machine.id), 2, "one supervisor and one agent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_launches_of_one_order_at_once_by_two_providers_and_another_process_agree() {
    let place = Place::new();
    let id = unique("order");
    let other = place.other_provider();
    let order = order(&place.provider, place.owner.as_str(), &id, 4, true);
    let embedder = std::thread::scope(|scope| {
        scope
            .spawn(|| Embedder::launch(&place, &id, "attached", 4))
            .join()
    });
    let (a, b, c, d) = join!(
        place.provider.launch(&order),
        other.launch(&order),
        place.provider.launch(&order),
        other.launch(&order),
    );
    let embedder = embedder.expect("launched");
    for outcome in [&a, &b, &c, &d] {
        assert!(
            outcome.refused.is_empty() && outcome.unknown.is_none(),
            "{outcome:?}"
        );
        assert_eq!(outcome.machines, a.machines);
    }
    let theirs: Vec<_> = embedder.machines.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(
        theirs,
        a.machines
            .iter()
            .map(|machine| machine.id.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(place.list().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_launches_of_one_order_race_in_this_process() {
    let place = Place::new();
    let other = place.other_provider();
    for _ in 0..10 {
        let order = order(
            &place.provider,
            place.owner.as_str(),
            &unique("order"),
            2,
            true,
        );
        let (a, b) = join!(place.provider.launch(&order), other.launch(&order));
        assert_eq!(a.machines, b.machines);
        assert_eq!(a.machines.len(), 2, "{a:?}");
    }
    assert_eq!(place.list().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_machine_that_has_ended_is_not_launched_again() {
    let place = Place::new();
    let order = order(
        &place.provider,
        place.owner.as_str(),
        &unique("order"),
        1,
        true,
    );
    let first = place.provider.launch(&order).await.machines;
    place.terminate(&first[0].id).await;
    assert_eq!(place.provider.launch(&order).await.machines, first);
    assert_eq!(
        place.state(&first[0].id).await,
        Some(ListedState::Terminated)
    );
    assert_eq!(processes_of(&first[0].id), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_its_own_session_directory_and_unblocked_signals() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    let disk = place.root().join(id.as_str()).join("state");
    assert_eq!(agent.ask("disk"), disk.display().to_string());
    assert_eq!(agent.ask("directory"), disk.display().to_string());
    assert_eq!(
        agent.ask("blocked").split_whitespace().last(),
        Some("0000000000000000")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_machines_at_once_all_answer_and_all_end() {
    let place = Place::new();
    let (a, b, c, d) = join!(
        place.launch(16, true),
        place.launch(16, true),
        place.launch(16, true),
        place.launch(2, true)
    );
    let machines = [a, b, c, d].concat();
    for machine in &machines {
        let who = Agent::dial(machine.address.expect("an address")).ask("who");
        assert!(who.ends_with(machine.id.as_str()), "{who}");
    }
    let ids: Vec<_> = machines.iter().map(|machine| machine.id.clone()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 50);
    let gone = place
        .provider
        .terminate(&ids)
        .await
        .expect("terminated")
        .gone;
    assert_eq!(
        gone.iter().collect::<HashSet<_>>(),
        ids.iter().collect::<HashSet<_>>()
    );
    for id in &ids {
        assert_eq!(processes_of(id), 0);
    }
}

#[tokio::test]
async fn p13_a_request_that_is_none_or_of_another_order_is_refused_and_launches_nothing() {
    let place = Place::new();
    let good = order(
        &place.provider,
        place.owner.as_str(),
        &unique("order"),
        2,
        true,
    );
    let mut torn = good.clone();
    torn.request = SecretBytes::new(*b"{}");
    let mut mixed = good.clone();
    mixed.id = "another".into();
    for bad in [torn, mixed] {
        let outcome = place.provider.launch(&bad).await;
        assert!(outcome.machines.is_empty() && outcome.unknown.is_none());
        let [(2, error)] = outcome.refused.as_slice() else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.kind, ErrorKind::BadSpec);
    }
    assert!(place.list().await.is_empty());
}
