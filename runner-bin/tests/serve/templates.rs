//! Start-up templates of the operator's own in pool files as the incumbent's
//! operators have them, and agents behind them that speak its protocol.

use std::process::Command;

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::support::{Serving, Site, step};

/// A line of JSON, for an image that places what it finds in it.
const JSON: &str = r#"    user_data: '{"CACert": "{{ .CACert | base64 }}", "TLSCert": "{{ .TLSCert | base64 }}", "TLSKey": "{{ .TLSKey | base64 }}"}'
"#;

/// Fewer words of what the incumbent's documentation shows; the fake's
/// machines place its files, and start an agent where its commands do.
const CLOUD_CONFIG: &str = r#"    user_data: |
      #cloud-config
      write_files:
      - path: {{ .CaCertPath }}
        permissions: '0600'
        encoding: b64
        content: {{ .CACert | base64 }}
      - path: {{ .CertPath }}
        permissions: '0600'
        encoding: b64
        content: {{ .TLSCert | base64 }}
      - path: {{ .KeyPath }}
        permissions: '0600'
        encoding: b64
        content: {{ .TLSKey | base64 }}
      runcmd:
      - 'wget "{{ .LiteEnginePath }}/lite-engine-{{ .Platform }}-{{ .Architecture }}" -O /usr/bin/lite-engine'
      - 'chmod 755 /usr/bin/lite-engine'
      - 'touch /root/.env'
      - '/usr/bin/lite-engine server --env-file /root/.env > /var/log/lite-engine.log 2>&1 &'
"#;

#[tokio::test]
async fn a_build_runs_unchanged_behind_a_line_of_json_with_the_incumbents_certificates() {
    let cloud = Cloud::with("eu-west-1", 1, 3, JSON).await;
    let runner = cloud.serve().await;
    let site = &cloud.site;
    let setup = json!({"id": "s", "pool_id": "linux", "setup_request": {"envs": {"WHO": "me"}}});
    let machine = site.insist("/setup", &setup).await.machine();
    assert!(cloud.alive().contains(&machine), "{machine}");
    let request = step("s", "hi", "echo hello $WHO; exit 3");
    let expected = json!({"exited": true, "exit_code": 3, "error": "exit status 3"});
    for _ in 0..2 {
        assert_eq!(site.insist("/step", &request).await.json(), expected, "P9");
    }
    assert_eq!(site.log("s", "hi"), "hello me\n");
    let said = site.said();
    for part in ["pool linux", "P11", "P12"] {
        assert!(said.contains(part), "what is not kept is said: {said}");
    }
    assert_eq!(said.matches("TLSKey").count(), 1, "once: {said}");
    assert!(!said.contains("PRIVATE KEY"), "P11: {said}");
    site.destroy("s").await;
    cloud.wait_until_replaced(&machine).await;
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p1_machines_of_a_template_are_launched_once_though_the_answer_was_lost_and_the_runner_killed()
 {
    use fake_ec2::{Fault, Rule};

    let cloud = Cloud::with("eu-central-1", 2, 2, CLOUD_CONFIG).await;
    let lost = Rule::on("RunInstances", Fault::LoseAnswer).times(2);
    cloud.fake.control().fault(lost);
    let runner = Serving::begin(&mut cloud.command());
    cloud.wait_until_alive(2).await;
    runner.kill().await;
    let runner = cloud.serve().await;
    let mut served = [cloud.site.setup("a").await, cloud.site.setup("b").await];
    let mut alive = cloud.alive();
    alive.sort();
    served.sort();
    assert_eq!(alive, served, "the same user data came with the same token");
    for stage in ["a", "b"] {
        let request = step(stage, "one", "true");
        let ended = cloud.site.insist("/step", &request).await;
        assert_eq!(ended.json(), json!({"exited": true}));
    }
    let user_data = cloud.fake.control().with(|cloud, _| {
        let instances = cloud
            .instances()
            .filter(|(_, _, instance)| instance.state.counted());
        let data = instances.map(|(_, _, instance)| instance.user_data.clone());
        data.collect::<Vec<_>>()
    });
    assert_ne!(user_data[0], user_data[1], "P12: each has a CA of its own");
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p13_a_template_that_can_not_be_filled_in_is_told_at_start_and_nothing_is_asked_of_ec2() {
    let keys =
        "    user_data: |\n      #cloud-config\n      # {{ .TLSKey }}\n      # {{ .CACrt }}\n";
    let cloud = Cloud::with("us-west-2", 1, 1, keys).await;
    let mut runner = Serving::begin(&mut cloud.command());
    let status = runner.end().await;
    assert_eq!(status.code(), Some(2), "bad input");
    let said = cloud.site.said();
    let says = "pool linux: spec.user_data: line 3: .CACrt is not known, did you mean .CACert?";
    assert!(said.contains(says), "{said}");
    let control = cloud.fake.control();
    let calls = control.with(|cloud, _| cloud.record.count("DescribeImages"));
    assert_eq!(calls, 0);
    cloud.end().await;
}

#[test]
fn p11_userdata_shows_what_a_machine_would_be_given_with_a_mark_for_each_secret() {
    let site = Site::new(0, 1);
    let ask = |keys: &str, more: &[&str]| {
        let pools = site.path().join("shown.yml");
        let text = format!(
            "version: \"1\"\ninstances:\n- name: linux\n  type: amazon\n  spec:\n    account: \
             {{region: us-east-1}}\n    ami: ami-1\n{keys}"
        );
        std::fs::write(&pools, text).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpool"));
        command.args(["userdata", "--pool"]).arg(&pools).args(more);
        command.output().expect("it runs")
    };
    for (keys, agent, holds) in [
        ("", "vmpool", "\"content\": \"<secret>\""),
        (JSON, "incumbent", "\"TLSKey\": \"<secret>\""),
    ] {
        let shown = ask(keys, &["--json"]).stdout;
        let shown: Value = serde_json::from_slice(&shown).expect("JSON");
        assert_eq!(
            (&shown["pool"], &shown["agent"]),
            (&json!("linux"), &json!(agent))
        );
        assert!(
            shown["text"].as_str().expect("a text").contains(holds),
            "{shown}"
        );
    }
    let whole = String::from_utf8(ask(JSON, &["--secrets"]).stdout).expect("a text");
    let whole: Value = serde_json::from_str(&whole).expect("the template's JSON");
    assert!(
        whole["TLSKey"].as_str().expect("a key").starts_with("LS0t"),
        "PEM"
    );
    let refused = ask("    user_data: '{{ .TLSKey'\n", &[]);
    assert_eq!(refused.status.code(), Some(2), "P13");
}
