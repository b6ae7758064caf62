//! A hundred machines come and go and leave neither a descriptor nor a zombie
//! in the process that launched them. Alone in its program, which counts its own.

#[path = "machines/order.rs"]
mod order;

use std::fs;
use std::path::Path;

use vmpool_core::Provider;
use vmpool_local::{AgentCommand, LocalProvider};

const STAND_IN: &str = env!("CARGO_BIN_EXE_vmpool-local-stand-in");

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_hundred_launches_and_ends_leave_no_descriptor_and_no_zombie() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    let provider =
        LocalProvider::with_root(AgentCommand::Path(STAND_IN.into()), &root).expect("a provider");
    come_and_go(&provider, "first", 2).await;
    let before = descriptors();
    for number in 0..10 {
        come_and_go(&provider, &format!("order-{number}"), 10).await;
    }
    assert_eq!(descriptors(), before);
    assert_eq!(children(), 0, "zombies or worse");
}

async fn come_and_go(provider: &LocalProvider, id: &str, count: u32) {
    let owner = format!("owner-{}", std::process::id());
    let launched = provider
        .launch(&order::order(provider, &owner, id, count, true))
        .await;
    assert!(
        order::secret(id).contains(id) && launched.refused.is_empty(),
        "{launched:?}"
    );
    let ids: Vec<_> = launched
        .machines
        .into_iter()
        .map(|machine| machine.id)
        .collect();
    let gone = provider.terminate(&ids).await.expect("terminated").gone;
    assert_eq!(gone.len(), ids.len());
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("listed").count()
}

/// Children of this process, of all its threads.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("listed");
    let of_task = |task: &Path| fs::read_to_string(task.join("children")).expect("read");
    tasks
        .map(|task| {
            of_task(&task.expect("a task").path())
                .split_whitespace()
                .count()
        })
        .sum()
}
