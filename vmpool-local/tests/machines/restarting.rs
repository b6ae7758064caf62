//! An agent that dies on a machine that is not attached is started again (P4).

use nix::sys::signal::Signal;
use vmpool_core::{ListedState, MachineId, Provider as _};

use crate::harness::{Agent, Place, await_end_of, await_that, processes_of, signal};

/// A machine that is not attached, and how to reach its agent.
async fn launch(place: &Place) -> (MachineId, impl Fn() -> Agent) {
    let machine = place.launch(1, false).await.remove(0);
    let address = machine.address.expect("an address");
    (machine.id, move || Agent::dial(address))
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_killed_agent_is_started_again_where_it_was_and_what_it_began_goes_on() {
    let place = Place::new();
    let (id, dial) = launch(&place).await;
    let mut agent = dial();
    let (secret, disk) = (agent.ask("secret"), agent.ask("disk"));
    let stragglers = agent.leave_stragglers();
    let mut killed = Vec::new();
    for _ in 0..3 {
        let pid = agent.pid();
        signal(pid, Signal::SIGKILL);
        await_end_of(pid);
        killed.push(pid);
        // Who dials meanwhile is answered by the next.
        agent = dial();
        assert!(!killed.contains(&agent.pid()));
    }
    assert_eq!((agent.ask("secret"), agent.ask("disk")), (secret, disk));
    assert_eq!(stragglers.count(), 3);
    assert_eq!(place.state(&id).await, Some(ListedState::Alive));
    let told = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(told.contains("is alive"), "{told}");
    let again = "its agent was killed by signal 9; it is started again in 100ms";
    assert!(told.contains(again), "{told}");
    place.terminate(&id).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_agent_that_fails_is_started_again() {
    let place = Place::new();
    let (id, dial) = launch(&place).await;
    let before = dial().pid();
    dial().tell("exit 101");
    await_end_of(before);
    assert_ne!(dial().pid(), before);
    place.terminate(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_an_agent_that_ends_its_machine_is_not_started_again() {
    let place = Place::new();
    let (id, dial) = launch(&place).await;
    let mut agent = dial();
    let stragglers = agent.leave_stragglers();
    agent.tell("exit 0");
    place.await_state(&id, ListedState::Terminated).await;
    assert_eq!((processes_of(&id), stragglers.count()), (0, 0));
    let told = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(told.contains("its agent exited with code 0"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_machine_whose_agent_is_about_to_be_started_again_ends_when_it_is_asked() {
    let place = Place::new();
    let (id, dial) = launch(&place).await;
    // Until the pauses are longer than it takes to ask.
    for _ in 0..7 {
        let pid = dial().pid();
        signal(pid, Signal::SIGKILL);
        await_end_of(pid);
    }
    await_that("it has no agent", || processes_of(&id) == 1);
    place.terminate(&id).await;
    assert_eq!(processes_of(&id), 0);
    let told = place.provider.diagnose(&id).await.expect("a diagnosis");
    assert!(told.contains("asked for its end"), "{told}");
}
