//! Agents that are killed while builds run, and holders of steps (P4, P10).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Answered, Site, processes, step, wait_for};

/// The process of the site's machine that has this part.
async fn part(site: &Site, role: &str) -> i32 {
    wait_for(role, async || {
        let found = site.processes().into_iter();
        let mut found = found.filter(|(_, line)| line.contains(role));
        found.next().map(|(pid, _)| pid)
    })
    .await
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
}

/// Prints so many lines, waits for the file, and prints as many more.
fn script(site: &Site, lines: u32) -> String {
    let go = site.path().join("go");
    let half = format!(
        "seq {lines}; while ! test -e {}; do sleep 0.01; done",
        go.display()
    );
    format!("{half}; seq {} {}; exit 3", lines + 1, 2 * lines)
}

fn printed(lines: u32) -> String {
    let numbers: Vec<String> = (1..=lines).map(|number| number.to_string()).collect();
    numbers.join("\n") + "\n"
}

#[tokio::test]
async fn p4_kill_9_of_the_agent_in_mid_step_the_result_and_the_whole_log_still_arrive() {
    let site = Site::new(0, 3);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let slow = step("s", "slow", &script(&site, 5000));
    let (ended, ()) = tokio::join!(site.insist("/step", &slow), async {
        let mut killed = Vec::new();
        for lines in [1, 5000, 5000] {
            wait_for("its lines", async || {
                site.log("s", "slow")
                    .starts_with(&printed(lines))
                    .then_some(())
            })
            .await;
            let agent = wait_for("another agent", async || {
                let pid = part(&site, "run-machine").await;
                (!killed.contains(&pid)).then_some(pid)
            })
            .await;
            kill_9(agent);
            killed.push(agent);
        }
        std::fs::write(site.path().join("go"), "").expect("written");
    });
    assert_eq!(
        ended.json(),
        json!({"exited": true, "exit_code": 3, "error": "exit status 3"})
    );
    assert!(site.log("s", "slow") == printed(10_000), "the log");
    // The stage has the same machine, and goes on there.
    let next = step("s", "next", "echo $WHO");
    let ended = site.insist("/step", &next).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("s", "next"), "me\n");
    assert_eq!(site.setup("s").await, machine);
    site.destroy("s").await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_p10_a_step_whose_holder_is_killed_is_lost_with_the_reason_and_an_exact_prefix() {
    let site = Site::new(0, 3);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let slow = step("s", "slow", &script(&site, 1000));
    let (ended, ()): (Answered, ()) = tokio::join!(site.insist("/step", &slow), async {
        wait_for("its lines", async || {
            site.log("s", "slow")
                .starts_with(&printed(1000))
                .then_some(())
        })
        .await;
        // A holder shows no environment. The youngest: what forked it is older.
        let holders = processes(&[&machine]).into_iter();
        let holders = holders.filter(|(_, line)| line.contains("hold-steps"));
        kill_9(holders.map(|(pid, _)| pid).max().expect("a holder"));
    });
    assert_eq!(ended.status, 200, "{ended:?}");
    assert!(ended.body.contains("its holder was killed"), "{ended:?}");
    assert!(site.log("s", "slow") == printed(1000), "the log");
    site.destroy("s").await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}
