//! `vmpool doctor`: what a pool file needs, before it matters.

use std::process::{Command, Output};

use fake_ec2::Policy;

use crate::cloud::{Cloud, KEY};
use crate::support::Site;

fn doctor_of<'c>(command: &'c mut Command, site: &Site) -> &'c mut Command {
    command
        .arg("doctor")
        .arg("--pool")
        .arg(site.path().join("pool.yml"))
        .env_remove("DRONE_LITE_ENGINE_PATH")
        .env_remove("DRONE_LITE_ENGINE_FALLBACK_PATH")
}

fn doctor(command: &mut Command, site: &Site, json: bool) -> (Option<i32>, String) {
    let command = doctor_of(command, site);
    if json {
        command.arg("--json");
    }
    told(command)
}

fn told(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("run vmpool doctor");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    (status.code(), said + &String::from_utf8_lossy(&stderr))
}

fn vmpool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vmpool"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_a_missing_permission_is_told_by_its_name_before_a_machine_is_launched() {
    let keys = "    size_alt: m5.large\n    market_type: spot\n    prefer: cheapest\n";
    let cloud = Cloud::with("us-east-1", 1, 3, keys).await;
    let ask = |json| {
        let mut command = vmpool();
        command
            .env("AWS_ENDPOINT_URL", cloud.fake.url())
            .env("AMAZON_ACCESS_KEY_ID", KEY)
            .env("AMAZON_ACCESS_KEY_SECRET", "secret");
        doctor(&mut command, &cloud.site, json)
    };
    let (code, said) = ask(false);
    assert_eq!(code, Some(0), "{said}");
    for check in [
        "credentials",
        "image",
        "types",
        "ec2:RunInstances",
        "ec2:TerminateInstances",
        "ec2:CreateFleet",
        "ec2:CreateLaunchTemplate",
        "ec2:AuthorizeSecurityGroupIngress",
        "spot prices: m6i.large $0.0288/h, m5.large $0.0288/h",
    ] {
        assert!(
            said.contains(&format!("ok       linux: {check}")),
            "{check}: {said}"
        );
    }
    let unknown = "unknown  linux: quota: see that Service Quotas";
    assert!(said.contains(unknown), "{said}");
    let policy = Policy::all_but(["ec2:TerminateInstances"]);
    cloud.fake.control().policy(KEY, policy);
    let (code, said) = ask(false);
    assert_eq!(code, Some(1), "{said}");
    let wrong = "wrong    linux: ec2:TerminateInstances: not allowed: add ec2:TerminateInstances";
    assert!(said.contains(wrong), "{said}");
    assert_eq!(said.matches("wrong ").count(), 1, "{said}");
    let (_, said) = ask(true);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let checks = told["pools"][0]["checks"].as_array().expect("checks");
    assert_eq!(checks[0]["verdict"], "ok", "{said}");
    let quota = checks.iter().find(|check| check["check"] == "quota");
    assert_eq!(quota.expect("told")["verdict"], "unknown", "{said}");
    let file = std::fs::read_to_string(cloud.site.path().join("pool.yml")).expect("the pool file");
    let file = file.replace(", allow_from: [10.0.0.0/8]", "");
    cloud.site.pool_file(&file);
    let (code, said) = ask(false);
    assert_eq!(code, Some(1), "{said}");
    let wrong = "wrong    linux: route to the agents: no security group is named, and nobody is";
    assert!(said.contains(wrong), "{said}");
    assert!(!said.contains("ec2:CreateSecurityGroup"), "{said}");
    assert_eq!(cloud.alive(), Vec::<String>::new());
    cloud.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_new_machines_would_download_from_the_runner_is_looked_at_beforehand() {
    let cloud = Cloud::with("us-east-1", 1, 3, "").await;
    let agents = cloud.site.path().join("offered");
    std::fs::create_dir(&agents).expect("a folder");
    let ask = || {
        let mut command = vmpool();
        command
            .env("AWS_ENDPOINT_URL", cloud.fake.url())
            .env("AMAZON_ACCESS_KEY_ID", KEY)
            .env("AMAZON_ACCESS_KEY_SECRET", "secret");
        let command = doctor_of(&mut command, &cloud.site);
        command.arg("--agents").arg(&agents);
        command.args(["--agents-url", "http://10.0.0.5:3003"]);
        told(command)
    };
    let (code, said) = ask();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has no lite-engine-"), "{said}");
    std::fs::write(agents.join("lite-engine-linux-arm64"), "").expect("an agent");
    let (code, said) = ask();
    assert_eq!(code, Some(0), "{said}");
    let lacks = "unknown  linux: agent download: --agents has no lite-engine-linux-amd64: add it";
    assert!(said.contains(lacks), "{said}");
    std::fs::write(agents.join("lite-engine-linux-amd64"), "").expect("an agent");
    let (code, said) = ask();
    assert_eq!(code, Some(0), "{said}");
    let offers = "ok       linux: agent download: the runner offers it at \
                  http://10.0.0.5:3003/lite-engine-linux-amd64: see that machines reach";
    assert!(said.contains(offers), "{said}");
    cloud.end().await;
}

#[test]
fn p13_a_local_pool_whose_directory_is_another_users_is_told_so() {
    let site = Site::new(1, 3);
    let (code, said) = doctor(&mut vmpool(), &site, false);
    assert_eq!(code, Some(0), "{said}");
    site.pool_file("instances: [{name: linux, type: local, spec: {root: /proc/nowhere}}]");
    let (code, said) = doctor(&mut vmpool(), &site, false);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("wrong    linux: directory: "), "{said}");
    assert!(said.contains("mend spec.root"), "{said}");
}
