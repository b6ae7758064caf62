//! What a runner and its journal tell.

use serde_json::{Value, json};

use crate::support::{Site, setup, step, wait_for};
use crate::tools::{state, url, vmpool};

fn machines(pools: &Value) -> Vec<(String, Value)> {
    let machines = pools["pools"][0]["machines"].as_array().expect("machines");
    let mut machines: Vec<_> = machines
        .iter()
        .map(|machine| (machine["id"].to_string(), machine["stage_id"].clone()))
        .collect();
    machines.sort_by(|one, other| one.0.cmp(&other.0));
    machines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_and_after_it_its_journal_tell_the_same_story() {
    let site = Site::new(0, 2);
    let runner = site.serve().await;
    let (state, url) = (state(&site), url(&site));
    let empty = vmpool(&["pool", "ls", "--runner", &url]).await;
    assert!(empty.out.contains("\nno machines\n"), "{empty:?}");

    let machine = site.setup("S1").await;
    let failed = site.insist("/step", &step("S1", "build", "exit 3")).await;
    assert_eq!(failed.json()["exit_code"], 3);

    let told = vmpool(&["pool", "ls", "--runner", &url, "--json"]).await;
    assert_eq!(told.code, 0, "{told:?}");
    let pools = told.json();
    assert!(pools["deployment"].is_string(), "{told:?}");
    let pool = &pools["pools"][0];
    assert_eq!(
        (&pool["name"], &pool["ours"]),
        (&json!("linux"), &json!(true))
    );
    assert_eq!((&pool["claimed"], &pool["limit"]), (&json!(1), &json!(2)));
    assert_eq!(machines(&pools), [(format!("{machine:?}"), json!("S1"))]);
    // The runner of a state directory is found by it.
    let found = vmpool(&["pool", "ls", "--state", &state, "--json"])
        .await
        .json();
    assert_eq!(found["source"], json!(format!("runner {url}")));
    let shown = vmpool(&["pool", "ls", "linux", "--runner", &url]).await;
    let row = shown.out.lines().find(|line| line.starts_with(&machine));
    let row: Vec<&str> = row
        .unwrap_or_else(|| panic!("{shown:?}"))
        .split_whitespace()
        .collect();
    assert_eq!(row[1..3], ["linux", "claimed"], "{shown:?}");

    for asked in [["--runner", &url], ["--state", &state]] {
        let story = vmpool(&["explain", "S1", asked[0], asked[1]]).await;
        let summary = story.out.lines().next().unwrap_or_default();
        assert!(
            summary.contains(&machine) && summary.contains("build failed: exit code 3"),
            "{story:?}"
        );
        for part in [
            "what happened",
            "what the time went to",
            "preparing",
            "step build of stage S1",
        ] {
            assert!(story.out.contains(part), "{part}: {story:?}");
        }
    }
    // How the machine fares, its agent tells the runner alone.
    let fares = vmpool(&["explain", &machine, "--runner", &url]).await;
    let now = fares.out.lines().find(|line| line.contains(" now "));
    let now = now.unwrap_or_else(|| panic!("{fares:?}"));
    assert!(
        now.contains("processors") && now.contains(" of memory"),
        "{now}"
    );
    let live = vmpool(&["pool", "ledger", "--runner", &url, "--json"]).await;
    assert_eq!(live.code, 0, "{live:?}");
    let lines = live.lines();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["state"]),
        (&json!(machine), &json!("claimed"))
    );
    let sum = &lines[1]["summary"];
    assert_eq!(
        (&sum["machines"], &sum["alive"], &sum["unaccounted"]),
        (&json!(1), &json!(1), &json!(0))
    );

    site.destroy("S1").await;
    wait_for("the machine's end in the ledger", async || {
        let ledger = vmpool(&["pool", "ledger", "--runner", &url, "--json"]).await;
        (ledger.lines()[0]["state"] == "gone").then_some(())
    })
    .await;
    let swept = vmpool(&["sweep", "--runner", &url, "--json"]).await;
    assert_eq!(
        (swept.code, &swept.json()["machines"]),
        (0, &json!([])),
        "{swept:?}"
    );
    runner.stop().await;

    let told = vmpool(&["pool", "ls", "--state", &state]).await;
    assert!(told.out.starts_with("no runner: journal"), "{told:?}");
    let ledger = vmpool(&["pool", "ledger", "--state", &state]).await;
    assert_eq!(ledger.code, 0, "{ledger:?}");
    for part in [
        &machine,
        "gone",
        "1 machine: 1 ended, 0 alive, 0 not accounted for",
    ] {
        assert!(ledger.out.contains(part), "{part}: {ledger:?}");
    }
    assert!(
        ledger
            .out
            .contains("not held against what the providers have: linux"),
        "{ledger:?}"
    );
    let story = vmpool(&["explain", &machine, "--state", &state]).await;
    assert!(
        story.out.contains("is gone") && story.out.contains("it served stage S1"),
        "{story:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_request_that_waits_is_told_with_why_and_since_when() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    let (state, url) = (state(&site), url(&site));
    site.setup("S1").await;
    let request = setup("S2");
    let waits = site.post("/setup", &request);
    let seen = async {
        wait_for("a request that waits", async || {
            let told = vmpool(&["pool", "ls", "--runner", &url, "--json"])
                .await
                .json();
            (told["pools"][0]["waiters"][0]["stage_id"] == "S2").then_some(())
        })
        .await;
        let shown = vmpool(&["pool", "ls", "--runner", &url]).await;
        let why = "stage S2 waits for a machine of pool linux";
        assert!(shown.out.contains(why), "{shown:?}");
        let story = vmpool(&["explain", "S2", "--runner", &url]).await;
        assert!(story.out.starts_with("stage S2 waits since"), "{story:?}");
        assert!(story.out.contains("1 claimed"), "{story:?}");
        assert!(story.out.contains("waiting"), "{story:?}");
        // The journal alone names the pool, and what was in the way.
        std::fs::remove_file(site.path().join("state/grpc-url")).expect("it is there");
        wait_for("the note of it", async || {
            let story = vmpool(&["explain", "S2", "--state", &state]).await;
            let told = story.out.contains("no machine of pool linux is ready")
                && story.out.contains("slots are taken: 1 claimed");
            told.then_some(())
        })
        .await;
        site.destroy("S1").await;
    };
    let (answered, ()) = tokio::join!(waits, seen);
    assert_eq!(answered.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_runner_ends_another_deployments_machines_only_where_a_person_names_it() {
    let site = Site::new(1, 2);
    let first = site.serve().await;
    let machine = site.setup("S1").await;
    first.kill().await;
    // Another deployment of the same name, whose state is lost.
    std::fs::remove_dir_all(site.path().join("state")).expect("it is there");
    let _second = site.serve().await;
    let url = url(&site);
    let dry = vmpool(&["sweep", "--runner", &url, "--json"]).await;
    let other = dry.json()["others"][0].clone();
    assert_eq!(dry.json()["machines"], json!([]), "{dry:?}");
    let id = other["deployment_id"].as_str().expect("its id").to_owned();
    let named = ["sweep", "--runner", &url, "--deployment-id", &id];
    let would = vmpool(&named).await;
    assert!(
        would.out.contains("would be ended") && would.out.contains(&machine),
        "{would:?}"
    );
    assert!(would.out.contains("--yes"), "{would:?}");
    let done = vmpool(&[&named[..], &["--yes"]].concat()).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains(&machine), "{done:?}");
    wait_for("the end of that machine", async || {
        let again = vmpool(&named).await;
        again.out.contains("nothing to end").then_some(())
    })
    .await;
}
