//! Another pool file while the runner serves: by SIGHUP, and by its change.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Site, setup, step, wait_for};

/// An entry of a local pool.
fn entry(site: &Site, name: &str, pool: u32, more: &str) -> String {
    let root = site.path().join("machines");
    let root = root.display();
    format!(
        "- name: {name}\n  type: local\n  pool: {pool}\n  limit: 8\n  spec: {{root: {root}{more}}}\n"
    )
}

fn file(entries: &[String]) -> String {
    format!("version: \"1\"\ninstances:\n{}", entries.concat())
}

/// The site's machines: an agent each.
fn machines(site: &Site) -> Vec<i32> {
    let agents = site.processes().into_iter();
    let agents = agents.filter(|(_, line)| line.contains("run-machine"));
    agents.map(|(pid, _)| pid).collect()
}

async fn until_machines(site: &Site, count: usize) -> Vec<i32> {
    wait_for(&format!("{count} machines"), async || {
        let found = machines(site);
        (found.len() == count).then_some(found)
    })
    .await
}

async fn until_said(site: &Site, what: &str) {
    wait_for(what, async || site.said().contains(what).then_some(())).await;
}

async fn owns(site: &Site, pool: &str) -> bool {
    let path = format!("/pool_owner?pool={pool}");
    let answered = site.insist(&path, &Value::Null).await;
    answered.json()["owner"] == json!(true)
}

fn of_pool(stage: &str, pool: &str) -> Value {
    let mut request = setup(stage);
    request["pool_id"] = json!(pool);
    request
}

#[tokio::test]
async fn sighup_takes_a_pool_of_another_size_and_a_new_one_and_keeps_the_machines() {
    let site = Site::new(1, 8);
    site.pool_file(&file(&[entry(&site, "linux", 1, "")]));
    let runner = site.serve().await;
    let before = until_machines(&site, 1).await;
    let larger = [entry(&site, "linux", 3, ""), entry(&site, "other", 1, "")];
    site.pool_file(&file(&larger));
    runner.signal(Signal::SIGHUP);
    let after = until_machines(&site, 4).await;
    assert!(before.iter().all(|pid| after.contains(pid)), "they stay");
    assert!(owns(&site, "other").await);
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p13_a_file_that_can_t_be_used_is_told_with_its_places_and_changes_nothing() {
    let site = Site::new(1, 8);
    site.pool_file(&file(&[entry(&site, "linux", 1, "")]));
    let runner = site.serve().await;
    until_machines(&site, 1).await;
    site.pool_file("instances:\n- name: linux\n  type: locl\n- {name: b, type: local, pool: x}\n");
    runner.signal(Signal::SIGHUP);
    until_said(&site, "the pool file is not taken").await;
    let said = site.said();
    for mistake in [
        "pool.yml:3:9: instances[0].type: unknown type `locl`, did you mean `local`?",
        "pool.yml:4:32: instances[1].pool: expected a whole number, found `x`",
    ] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    site.setup("s").await;
    assert!(!owns(&site, "b").await);
    // Mended, it is taken without a word.
    site.pool_file(&file(&[entry(&site, "linux", 3, "")]));
    until_machines(&site, 4).await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_a_pool_that_is_in_the_file_no_more_ends_after_its_last_build() {
    let site = Site::new(1, 8);
    let both = [entry(&site, "linux", 1, ""), entry(&site, "old", 2, "")];
    site.pool_file(&file(&both));
    let runner = site.serve().await;
    until_machines(&site, 3).await;
    let got = site.insist("/setup", &of_pool("build", "old")).await;
    let machine = got.machine();
    let go = site.path().join("go");
    let script = format!(
        "while ! test -e {}; do sleep 0.01; done; echo on",
        go.display()
    );
    let waits = step("build", "waits", &script);
    let (ended, ()) = tokio::join!(site.insist("/step", &waits), async {
        // Its own change is enough.
        site.pool_file(&file(&[entry(&site, "linux", 1, "")]));
        until_machines(&site, 2).await;
        let refused = site.insist("/setup", &of_pool("late", "old")).await;
        assert!(
            refused.body.contains("configuration no more"),
            "{refused:?}"
        );
        let again = site.insist("/setup", &of_pool("build", "old")).await;
        assert_eq!(again.machine(), machine);
        std::fs::write(&go, "").expect("written");
    });
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("build", "waits"), "on\n");
    site.destroy("build").await;
    until_machines(&site, 1).await;
    wait_for("the pool's end", async || {
        (!owns(&site, "old").await).then_some(())
    })
    .await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_machines_of_an_old_spec_are_replaced_and_the_busy_one_finishes_its_build() {
    let site = Site::new(2, 8);
    site.pool_file(&file(&[entry(&site, "linux", 2, "")]));
    let runner = site.serve().await;
    site.setup("build").await;
    let before = until_machines(&site, 3).await;
    let go = site.path().join("go");
    let script = format!(
        "while ! test -e {}; do sleep 0.01; done; echo on",
        go.display()
    );
    let waits = step("build", "waits", &script);
    let (ended, ()) = tokio::join!(site.insist("/step", &waits), async {
        wait_for("the step", async || {
            let running = site.processes().into_iter();
            let mut running = running.filter(|(_, line)| line.contains("sleep 0.01"));
            running.next().map(|_| ())
        })
        .await;
        let other = entry(&site, "linux", 2, ", clocks: {idle: 3m}");
        site.pool_file(&file(&[other]));
        runner.signal(Signal::SIGHUP);
        wait_for("machines of the new spec", async || {
            let now = machines(&site);
            let stayed = now.iter().filter(|pid| before.contains(pid)).count();
            (now.len() == 3 && stayed == 1).then_some(())
        })
        .await;
        std::fs::write(&go, "").expect("written");
    });
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("build", "waits"), "on\n");
    site.destroy("build").await;
    wait_for("the last of the old ones", async || {
        let now = machines(&site);
        (now.len() == 2 && !now.iter().any(|pid| before.contains(pid))).then_some(())
    })
    .await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn a_request_gets_its_variants_or_its_tenants_machine_under_the_name_that_it_asked_for() {
    let site = Site::new(0, 8);
    let families = "  variants: [{variant_id: large, resource_class: large, limit: 2}]\n  \
                    tenants: [{group_id: acme, ids: [acct], limit: 2}]\n";
    site.pool_file(&(file(&[entry(&site, "linux", 0, "")]) + families));
    let runner = site.serve().await;
    let ask = async |stage: &str, field: &str, value: Value| {
        let mut request = setup(stage);
        request[field] = value;
        let answered = site.insist("/setup", &request).await;
        answered.machine();
        answered.json()["instance_info"]["pool_name"].clone()
    };
    assert_eq!(ask("plain", "resource_class", json!("")).await, "linux");
    assert_eq!(ask("big", "resource_class", json!("large")).await, "linux");
    let context = json!({"account_id": "acct"});
    assert_eq!(ask("theirs", "context", context).await, "linux");
    let metrics = site.get("/metrics").await.expect("an answer").body;
    for pool in ["linux", "linux/large", "linux@acme"] {
        let label = format!("pool=\"{pool}\"");
        assert!(metrics.contains(&label), "{label}: {metrics}");
    }
    for (stage, pool, owned) in [
        ("big", "linux", true),
        ("big", "linux/large", true),
        ("big", "linux@acme", false),
        ("none", "linux", false),
    ] {
        let path = format!("/pool_owner?pool={pool}&stageId={stage}");
        let answered = site.insist(&path, &Value::Null).await;
        assert_eq!(answered.json()["owner"], json!(owned), "{stage} {pool}");
    }
    assert!(runner.stop().await.success());
}
