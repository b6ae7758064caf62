//! `/setup` and `/destroy` on machines of this host.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answered, Site, ask, lite_engine, setup, step, wait_for};

#[tokio::test]
async fn case_10_the_answer_says_all_of_the_machine_and_no_key_of_it() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    let answered = site.insist("/setup", &setup("s")).await;
    let told = answered.json();
    let info = &told["instance_info"];
    assert_eq!(told["instance_id"], info["id"]);
    assert_eq!(told["ip_address"], info["ip_address"]);
    assert_eq!(told["gitspaces_port_mappings"], json!(null));
    assert_eq!(info["name"], info["id"]);
    assert_eq!(
        (&info["provider"], &info["pool_name"]),
        (&json!("local"), &json!("linux"))
    );
    assert_eq!(
        (&info["os"], &info["storage_identifier"]),
        (&json!("linux"), &json!(""))
    );
    assert!(info["port"].as_u64().is_some_and(|port| port > 0), "{info}");
    for key in ["ca_key", "ca_cert", "tls_key", "tls_cert"] {
        assert_eq!(info[key], "", "{key}");
    }
    site.destroy("s").await;
}

#[tokio::test]
async fn p12_compat_keys_are_those_of_the_machine_with_the_incumbents_agent_and_no_others() {
    let site = Site::new(0, 3);
    let root = site.path().join("machines");
    site.pool_file(&format!(
        "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: 0\n  limit: 3\n  \
         spec:\n    root: {root}\n    agent: [{agent}, server, --state, agent]\n- name: ours\n  \
         type: local\n  pool: 0\n  limit: 3\n  spec: {{root: {root}}}\n",
        root = root.display(),
        agent = lite_engine().display(),
    ));
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let _runner = site.ready(command.arg("--compat-keys")).await;
    let keys = |answered: &Answered| {
        let info = answered.json()["instance_info"].clone();
        ["ca_key", "ca_cert", "tls_key", "tls_cert"]
            .map(|key| info[key].as_str().unwrap().to_owned())
    };
    let theirs = site.insist("/setup", &setup("theirs")).await;
    assert!(
        keys(&theirs).iter().all(|key| key.len() > 100),
        "{theirs:?}"
    );
    let trust = std::fs::read_to_string(site.path().join("state/trust.pem")).expect("the trust");
    let another = site.insist("/setup", &setup("another")).await;
    for (one, other) in keys(&theirs).into_iter().zip(keys(&another)) {
        assert_ne!(one, other, "each machine has its own");
    }
    for body in [&theirs.body, &another.body] {
        let pem = trust
            .lines()
            .filter(|line| line.len() > 40 && !line.contains("---"));
        for line in pem {
            assert!(!body.contains(line), "nothing of the deployment's");
        }
    }
    let ours = json!({"id": "ours", "pool_id": "ours"});
    let ours = site.insist("/setup", &ours).await;
    assert_eq!(keys(&ours), [const { String::new() }; 4]);
    for stage in ["theirs", "another", "ours"] {
        site.destroy(stage).await;
    }
}

#[tokio::test]
async fn case_11_k_requests_at_once_get_k_machines_and_case_13_none_warm_gets_one_too() {
    let site = Site::new(0, 6);
    let _runner = site.serve().await;
    let mut asking = JoinSet::new();
    for n in 0..6 {
        let (port, body) = (site.port(), setup(&format!("s{n}")));
        asking.spawn(async move {
            let answered = ask(port, "POST", "/setup", body.to_string().into()).await;
            answered.expect("an answer").machine()
        });
    }
    let machines: BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!(machines.len(), 6, "P2: {machines:?}");
    for n in 0..6 {
        site.destroy(&format!("s{n}")).await;
    }
}

#[tokio::test]
async fn case_18_31_and_fields_of_gitspaces_are_accepted_and_files_may_be_directories() {
    let site = Site::new(1, 2);
    let _runner = site.serve().await;
    let body = json!({"id": "s", "pool_id": "linux", "skip_cloud_vm_cleanup": true,
        "is_marked_for_infra_reset": true, "zone": "nowhere-1a", "resource_class": "large",
        "gitspace_agent_config": {"ports": [8080], "secret": "x"},
        "tags": {"accountID": "acme"}, "context": {"account_id": "acme"},
        "storage_config": {"boot_disk_size": "100", "type": "gp3"},
        "setup_request": {"mount_docker_socket": null, "network": {"id": "n"},
            "volumes": [{"host": {"id": "v", "name": "v", "path": "/v"}}],
            "files": [{"path": "made/deep", "is_dir": true, "mode": 448},
                      {"path": "made/file", "data": "by setup", "mode": 384}]}});
    let machine = site.insist("/setup", &body).await.machine();
    assert_eq!(site.insist("/setup", &body).await.machine(), machine, "P9");
    let script = "stat -c %a made/deep && cat made/file";
    let ended = site.insist("/step", &step("s", "look", script)).await;
    assert_eq!(
        ended.json(),
        json!({"exited": true}),
        "{}",
        site.log("s", "look")
    );
    assert_eq!(site.log("s", "look"), "700\nby setup");
    let mut other = body.clone();
    other["setup_request"]["envs"] = json!({"A": "1"});
    let conflict = site.insist("/setup", &other).await;
    assert_eq!(conflict.status, 400, "P9: {conflict:?}");
    assert!(
        conflict.body.contains("before with another"),
        "{conflict:?}"
    );
    // Explicitly, it is ended all the same.
    site.destroy("s").await;
}

#[tokio::test]
async fn case_38_a_size_of_a_disk_that_is_none_is_told() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    let body = json!({"id": "s", "pool_id": "linux", "storage_config": {"boot_disk_size": "abc"}});
    let told = site.insist("/setup", &body).await;
    assert_eq!(told.status, 500);
    assert!(
        told.body.contains("failed to parse volume size"),
        "{told:?}"
    );
}

#[tokio::test]
async fn case_28_a_stage_that_is_destroyed_while_it_waits_is_told_so_and_gets_no_machine() {
    let site = Site::new(0, 1);
    let _runner = site.serve().await;
    site.setup("first").await;
    let body = setup("second");
    let mut asked = Box::pin(site.insist("/setup", &body));
    let told = loop {
        // Before it waits, there is nothing to destroy.
        tokio::select! {
            biased;
            told = &mut asked => break told,
            () = site.destroy("second") => {}
        }
    };
    assert_eq!(told.status, 500, "{told:?}");
    assert!(told.body.contains("destroyed while it waited"), "{told:?}");
    site.destroy("first").await;
    let unknown = site.insist("/destroy", &json!({"id": "never"})).await;
    assert_eq!(
        (unknown.status, unknown.body.as_str()),
        (200, ""),
        "at once"
    );
}

/// The folders of stages below `folder`, of machines whose agents have begun.
fn stage_folders(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if path.ends_with("stage") {
            found.push(path);
        } else {
            stage_folders(&path, found);
        }
    }
}

/// Waits for so many machines that are ready, and keeps stages from being
/// prepared there; gives their ids.
async fn spoil_machines(site: &Site, count: usize) -> Vec<String> {
    let root = site.path().join("machines");
    let folders = wait_for(&format!("{count} ready machines"), async || {
        let ready = site.get("/pools/linux").await?.json()["ready"].as_u64()?;
        let mut folders = Vec::new();
        stage_folders(&root, &mut folders);
        (ready == count as u64 && folders.len() == count).then_some(folders)
    })
    .await;
    let spoil = |folder: PathBuf| {
        fs::remove_dir(&folder).expect("it is empty");
        fs::write(&folder, "").expect("a file in its place");
        let below = folder.strip_prefix(&root).expect("it is below");
        let id = below.components().next().expect("the machine's folder");
        id.as_os_str().to_str().expect("an id").to_owned()
    };
    folders.into_iter().map(spoil).collect()
}

#[tokio::test]
async fn case_16_an_init_that_fails_gets_the_next_machine_of_the_pool_for_the_same_stage() {
    let site = Site::new(1, 3);
    let _runner = site.serve().await;
    let spoiled = spoil_machines(&site, 1).await;
    let machine = site.setup("s").await;
    assert_ne!(machine, spoiled[0]);
    assert_eq!(site.setup("s").await, machine, "P9");
    let ended = site.insist("/step", &step("s", "hi", "true")).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    let story = site.get("/stages/s/explain").await.expect("an answer").body;
    let told = format!("machine {} could not be prepared", spoiled[0]);
    assert!(story.contains(&told), "{story}");
    site.destroy("s").await;
}

#[tokio::test]
async fn case_16_a_stage_that_no_machine_can_be_prepared_for_ends_and_names_each() {
    let site = Site::new(3, 9);
    let _runner = site.serve().await;
    let spoiled = spoil_machines(&site, 3).await;
    let refused = site.insist("/setup", &setup("s")).await;
    assert_eq!(refused.status, 500, "{refused:?}");
    for machine in &spoiled {
        assert!(refused.body.contains(machine), "{machine}: {refused:?}");
    }
    assert!(
        refused
            .body
            .contains("none of 3 machines could be prepared"),
        "{refused:?}"
    );
    let again = site.insist("/setup", &setup("s")).await;
    assert_eq!(again.status, 500, "it is over: {again:?}");
    site.setup("another").await;
    site.destroy("another").await;
}
