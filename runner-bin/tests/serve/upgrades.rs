//! A new program takes over while builds run: none is refused, none is lost (P4).

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use vmpool_core::Journal as _;
use vmpool_core::journal::RowKey;
use vmpool_store::SqliteJournal;

use crate::support::{Serving, Site, install, setup, step, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

#[tokio::test]
async fn p4_an_upgrade_with_requests_in_flight_refuses_and_loses_none() {
    let site = Site::new(2, 6);
    let program = site.path().join("vmpool");
    install(Path::new(PROGRAM), &program);
    let mut old = site.serve_with(&program).await;
    let before = site.holder();
    site.setup("s").await;
    let slow = step(
        "s",
        "slow",
        "for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done",
    );
    let (asked, ()) = tokio::join!(site.post("/step", &slow), async {
        wait_for("the first line", async || {
            site.log("s", "slow").contains('1').then_some(())
        })
        .await;
        install(Path::new(PROGRAM), &program);
        old.signal(Signal::SIGUSR2);
        // Requests go on all the while; each is answered at the first try.
        let mut asked = 0;
        wait_for("the new process", async || {
            asked += 1;
            let stage = format!("during-{asked}");
            let destroyed = site.post("/destroy", &json!({"id": stage})).await;
            let destroyed = destroyed.unwrap_or_else(|| panic!("refused: {}", site.said()));
            assert_eq!(destroyed.status, 200, "{destroyed:?}");
            (site.holder() != before).then_some(())
        })
        .await;
    });
    let asked = asked.unwrap_or_else(|| panic!("lost: {}", site.said()));
    assert_eq!(asked.json(), json!({"exited": true}), "{asked:?}");
    assert_eq!(site.log("s", "slow"), "1\n2\n3\n4\n5\n6\n");
    assert!(old.end().await.success());
    let after = site.holder();
    assert_ne!(after, before);
    site.destroy("s").await;
    stop_holder(&site).await;
}

#[tokio::test]
async fn p4_a_program_that_does_not_come_up_replaces_nothing() {
    let site = Site::new(1, 3);
    let program = site.path().join("vmpool");
    install(Path::new(PROGRAM), &program);
    let runner = site.serve_with(&program).await;
    let machine = site.setup("s").await;
    let broken = site.path().join("broken");
    fs::write(&broken, "#!/bin/sh\nexit 9\n").expect("write a program");
    install(&broken, &program);
    runner.signal(Signal::SIGUSR2);
    wait_for("the reason", async || {
        let said = site.said();
        (said.contains("no upgrade") && said.contains("exit status: 9")).then_some(())
    })
    .await;
    assert_eq!(site.setup("s").await, machine);
    site.destroy("s").await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_a_setup_that_waits_for_a_machine_gets_it_from_the_new_process() {
    let site = Site::new(0, 1);
    let mut old = installed(&site).await;
    site.setup("first").await;
    let second = setup("second");
    let (answered, ()) = tokio::join!(site.post("/setup", &second), async {
        until_it_waits(&site, "second").await;
        upgrade(&site).await;
        site.destroy("first").await;
    });
    let answered = answered.unwrap_or_else(|| panic!("lost: {}", site.said()));
    assert_eq!(answered.machine(), site.setup("second").await);
    assert!(old.end().await.success());
    site.destroy("second").await;
    stop_holder(&site).await;
}

#[tokio::test]
async fn p4_an_answer_comes_through_two_upgrades_one_after_the_other() {
    let site = Site::new(1, 3);
    let mut old = installed(&site).await;
    site.setup("s").await;
    let slow = slow_step();
    let (answered, ()) = tokio::join!(site.post("/step", &slow), async {
        until_it_runs(&site).await;
        let second = upgrade(&site).await;
        let third = upgrade(&site).await;
        assert_ne!(second, third);
    });
    let answered = answered.unwrap_or_else(|| panic!("lost: {}", site.said()));
    assert_eq!(answered.json(), json!({"exited": true}), "{answered:?}");
    assert_eq!(site.log("s", "slow"), SLOW_LOG);
    assert!(old.end().await.success());
    until_one_is_left(&site).await;
    site.destroy("s").await;
    stop_holder(&site).await;
}

#[tokio::test]
async fn p4_a_second_signal_during_an_upgrade_starts_no_third_process() {
    let site = Site::new(1, 3);
    let mut old = installed(&site).await;
    let machine = site.setup("s").await;
    let before = site.holder();
    for _ in 0..3 {
        kill(Pid::from_raw(before), Signal::SIGUSR2).expect("ask for an upgrade");
    }
    until_ready_but(&site, before).await;
    assert!(old.end().await.success());
    until_one_is_left(&site).await;
    assert_eq!(site.said().matches("is to take over").count(), 1);
    assert_eq!(site.setup("s").await, machine);
    site.destroy("s").await;
    stop_holder(&site).await;
}

#[tokio::test]
async fn p4_a_program_that_fails_once_it_was_let_go_gives_the_place_back() {
    let site = Site::new(0, 1);
    let runner = installed(&site).await;
    site.setup("s").await;
    // It reads files and options, takes the lock, and finds no journal.
    let broken = site.path().join("broken");
    let text = format!("#!/bin/sh\nexec {PROGRAM} \"$@\" --journal postgres://u@127.0.0.1:1/d\n");
    fs::write(&broken, text).expect("write a program");
    install(&broken, &site.path().join("vmpool"));
    let (slow, second) = (slow_step(), setup("second"));
    let ((ran, waited), ()) = tokio::join!(
        async { tokio::join!(site.post("/step", &slow), site.post("/setup", &second)) },
        async {
            until_it_runs(&site).await;
            until_it_waits(&site, "second").await;
            runner.signal(Signal::SIGUSR2);
            wait_for("the reason", async || {
                let said = site.said();
                said.contains("takes its place back").then_some(())
            })
            .await;
            let ended = site.insist("/step", &slow).await;
            assert_eq!(ended.json(), json!({"exited": true}));
            site.destroy("s").await;
        }
    );
    // Whoever asked before is answered, too.
    let ran = ran.unwrap_or_else(|| panic!("lost: {}", site.said()));
    assert_eq!(ran.json(), json!({"exited": true}), "{ran:?}");
    assert_eq!(site.log("s", "slow"), SLOW_LOG);
    let waited = waited.unwrap_or_else(|| panic!("lost: {}", site.said()));
    assert_eq!(waited.machine(), site.setup("second").await);
    site.destroy("second").await;
    assert!(runner.stop().await.success());
}

const SLOW_LOG: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

fn slow_step() -> Value {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.5; done";
    step("s", "slow", script)
}

async fn until_it_runs(site: &Site) {
    wait_for("the first line", async || {
        site.log("s", "slow").contains('1').then_some(())
    })
    .await;
}

/// A runner of the program that an upgrade replaces.
async fn installed(site: &Site) -> Serving {
    let program: PathBuf = site.path().join("vmpool");
    install(Path::new(PROGRAM), &program);
    site.serve_with(&program).await
}

/// Replaces the process that has the state; gives the one that has it then.
async fn upgrade(site: &Site) -> i32 {
    let before = site.holder();
    kill(Pid::from_raw(before), Signal::SIGUSR2).expect("ask for an upgrade");
    until_ready_but(site, before).await
}

async fn until_ready_but(site: &Site, before: i32) -> i32 {
    wait_for("the new process", async || {
        let ready = site.get("/readyz").await;
        let is_new = ready.is_some_and(|ready| ready.status == 200) && site.holder() != before;
        is_new.then(|| site.holder())
    })
    .await
}

/// Waits until the journal tells that the stage waits for a machine.
async fn until_it_waits(site: &Site, stage: &str) {
    let journal = SqliteJournal::open_read_only(site.path().join("state/vmpool.db"));
    let journal = journal.expect("the journal is there");
    let key = RowKey::Stage(stage.into());
    wait_for("the request to wait", async || {
        let events = journal.history(&key, 99).await.expect("it is read");
        events
            .iter()
            .any(|event| event.what == "waits")
            .then_some(())
    })
    .await;
}

/// Waits until one process serves, and the others are gone.
async fn until_one_is_left(site: &Site) {
    wait_for("the end of the replaced processes", async || {
        let processes = site.processes();
        let serving = processes
            .iter()
            .filter(|(_, line)| line.contains(" serve "));
        (serving.count() == 1).then_some(())
    })
    .await;
}

/// Stops the process that has the state, which is no child of the test.
async fn stop_holder(site: &Site) {
    let holder = site.holder();
    kill(Pid::from_raw(holder), Signal::SIGTERM).expect("stop the runner");
    wait_for("its end", async || {
        let mut processes = site.processes().into_iter();
        processes.all(|(pid, _)| pid != holder).then_some(())
    })
    .await;
}
