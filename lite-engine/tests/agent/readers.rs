//! Many who read one step, and those who leave (P4, P9).

use tokio::task::JoinSet;

use crate::support::{Disk, Run, attach, exited, shell};

const LINES: usize = 20_000;

#[tokio::test]
async fn a_reader_that_leaves_in_mid_stream_harms_nobody() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let script = format!("seq {LINES}; while ! test -e go; do sleep 0.01; done; echo last");
    let mut stays = Run::start(&runner, shell("step", &script))
        .await
        .expect("started");
    for lines in [1, 100, LINES] {
        let mut leaves = Run::attach(&runner, attach("step", 0))
            .await
            .expect("attached");
        leaves.lines(lines).await.expect("lines");
        drop(leaves);
    }
    // One that never reads a byte of what it asked for.
    let mute = Run::attach(&runner, attach("step", 0)).await;
    let mut go = Run::start(&runner, shell("go", "touch go"))
        .await
        .expect("started");
    assert!(exited(&go.end().await.expect("ended"), 0));
    assert!(exited(&stays.end().await.expect("ended"), 0));
    assert_eq!(stays.text().lines().count(), LINES + 1);
    drop(mute);
}

#[tokio::test]
async fn ten_pollers_of_one_step_all_answer() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let script = "seq 100; while ! test -e go; do sleep 0.01; done; seq 101 200; exit 7";
    let mut first = Run::start(&runner, shell("step", script))
        .await
        .expect("started");
    first.lines(100).await.expect("lines");
    let mut pollers = JoinSet::new();
    for _ in 0..10 {
        let mut poller = Run::attach(&runner, attach("step", 0))
            .await
            .expect("attached");
        pollers.spawn(async move {
            let ended = poller.end().await.expect("ended");
            (ended, poller.log)
        });
    }
    let mut go = Run::start(&runner, shell("go", "touch go"))
        .await
        .expect("started");
    go.end().await.expect("ended");
    let ended = first.end().await.expect("ended");
    assert!(exited(&ended, 7));
    for told in pollers.join_all().await {
        assert_eq!(told, (ended.clone(), first.log.clone()));
    }
}
