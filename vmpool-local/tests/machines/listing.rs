//! What a listing shows, and to whom.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;
use vmpool_core::{ListedState, Owner, Provider};
use vmpool_local::{AgentCommand, LocalError, LocalProvider};

use crate::harness::{Embedder, Place, STAND_IN, unique};
use crate::order::order;

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_shows_an_owners_machines_and_no_others() {
    let place = Place::new();
    let mine = place.launch(2, true).await;
    let theirs = Owner::from(unique("owner").as_str());
    let order = order(&place.provider, theirs.as_str(), &unique("order"), 1, true);
    let their_machine = place.provider.launch(&order).await.machines.remove(0);
    let mut shown = place.list().await;
    shown.sort_by(|a, b| a.id.cmp(&b.id));
    let mut launched = mine.clone();
    launched.sort_by(|a, b| a.id.cmp(&b.id));
    for (shown, launched) in shown.iter().zip(&launched) {
        assert_eq!((&shown.id, shown.address), (&launched.id, launched.address));
        assert_eq!(shown.tags.owner, place.owner);
        assert_eq!(shown.state, ListedState::Alive);
    }
    assert_eq!(shown.len(), 2);
    let listing = place.provider.list(&theirs).await.expect("listed");
    assert_eq!(listing.machines.len(), 1);
    assert_eq!(listing.machines[0].id, their_machine.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_machine_whose_folder_was_removed_is_listed_and_can_be_terminated() {
    let place = Place::new();
    let (id, mut agent) = place.launch_one().await;
    agent.ask("who");
    fs::remove_dir_all(place.root().join(id.as_str())).expect("removed");
    let listed = place.list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, listed[0].state), (&id, ListedState::Alive));
    place.terminate(&id).await;
    assert!(place.list().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_machine_of_a_process_that_is_gone_is_listed_and_terminated_by_another() {
    let place = Place::new();
    let mut embedder = Embedder::launch(&place, &unique("order"), "detached", 2);
    embedder.kill();
    assert_eq!(place.list().await.len(), 2);
    for (id, _) in &embedder.machines {
        assert_eq!(place.state(id).await, Some(ListedState::Alive), "detached");
        place.terminate(id).await;
        assert_eq!(place.state(id).await, Some(ListedState::Terminated));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_ended_are_remembered_but_not_without_bound() {
    let place = Place::new();
    let (id, _agent) = place.launch_one().await;
    place.terminate(&id).await;
    let folder = place.root().join(id.as_str());
    assert_eq!(place.state(&id).await, Some(ListedState::Terminated));
    for number in 0..300 {
        let copy = place.root().join(format!("local-{number:016x}"));
        fs::create_dir(&copy).expect("made");
        fs::copy(folder.join("machine.json"), copy.join("machine.json")).expect("copied");
    }
    place.list().await;
    assert_eq!(place.list().await.len(), 256);
}

#[tokio::test]
async fn p11_the_root_is_this_users_alone_and_is_not_reached_through_a_link() {
    let place = Place::new();
    let mode = fs::metadata(place.root())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);

    let dir = TempDir::new().expect("a directory");
    let provider = |root| LocalProvider::with_root(AgentCommand::Path(STAND_IN.into()), root);
    let link = dir.path().join("link");
    symlink(place.root(), &link).expect("linked");
    assert!(matches!(provider(&link), Err(LocalError::Root { .. })));

    let open = dir.path().join("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).expect("set");
    let error = provider(&open).expect_err("refused").to_string();
    assert!(error.contains("its mode is 750, not 700"), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    assert!(matches!(provider(&file), Err(LocalError::Root { .. })));
}

#[test]
fn p13_a_program_that_can_be_no_agent_is_refused_at_once() {
    assert!(matches!(
        LocalProvider::new(AgentCommand::ThisProgram),
        Err(LocalError::NotAsked)
    ));
    for path in ["/no/such/program", "/etc/passwd"] {
        let refused = LocalProvider::new(AgentCommand::Path(path.into()));
        assert!(matches!(refused, Err(LocalError::Program { .. })), "{path}");
    }
}
