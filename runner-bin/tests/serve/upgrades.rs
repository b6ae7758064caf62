//! A new program takes over while builds run: none is refused, none is lost (P4).

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Site, install, step, wait_for};

#[tokio::test]
async fn p4_an_upgrade_with_requests_in_flight_refuses_and_loses_none() {
    let site = Site::new(2, 6);
    let program = site.path().join("vmpool");
    install(Path::new(env!("CARGO_BIN_EXE_vmpool")), &program);
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
        install(Path::new(env!("CARGO_BIN_EXE_vmpool")), &program);
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
    kill(Pid::from_raw(after), Signal::SIGTERM).expect("stop the new process");
}

#[tokio::test]
async fn p4_a_program_that_does_not_come_up_replaces_nothing() {
    let site = Site::new(1, 3);
    let program = site.path().join("vmpool");
    install(Path::new(env!("CARGO_BIN_EXE_vmpool")), &program);
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
