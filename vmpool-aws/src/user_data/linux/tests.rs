//! What the cloud-config says, and what the real tools say of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use vmpool_core::agent::Bootstrap;
use vmpool_core::{Attempt, SecretBytes, Tags, Timestamp};

use super::*;

/// A certificate is about as long; what is random does not compress.
fn bootstrap() -> Bootstrap {
    let line = STANDARD.encode([0x5a; 48]) + "\n";
    let body = line.repeat(10);
    Bootstrap {
        order: "01jd2k8yx0e5m8v3q6t9w4r7zp".into(),
        attempt: Attempt(1),
        ca_pem: format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"),
        runner_name: "runner".into(),
        secret: SecretBytes::new([7; 32].to_vec()),
        clocks: Clocks::default(),
    }
}

fn tags() -> Tags {
    Tags {
        owner: "ci".into(),
        deployment: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
        pool: "linux".into(),
        order: "01jd2k8yx0e5m8v3q6t9w4r7zp".into(),
        attempt: Attempt(1),
        expires_at: Timestamp(1_763_700_000_000),
    }
}

fn companion(name: &str) -> Extra {
    Extra::Companion {
        name: name.into(),
        file: format!("/usr/bin/{name}"),
        urls: ["https://one.example", "https://two.example"]
            .map(|host| format!("{host}/downloads/of/some/release/v1.2.3/{name}-linux-amd64"))
            .into(),
    }
}

/// With all that there can be.
fn linux() -> Linux {
    let companions = ["plugin", "split_tests", "auto-injection", "hcli", "envman"];
    Linux {
        agent: Agent {
            urls: vec!["http://one/agent".into(), "http://two/agent".into()],
            sha256: Some("0123456789abcdef".repeat(4)),
        },
        port: 9079,
        clocks: None,
        extras: [
            Extra::Docker { install: true },
            Extra::Git { install: false },
        ]
        .into_iter()
        .chain(companions.map(companion))
        .collect(),
    }
}

fn rendered(linux: &Linux) -> String {
    let (tags, bootstrap) = (tags(), bootstrap());
    let draft = OrderDraft {
        count: 1,
        tags: &tags,
        bootstrap: &bootstrap,
        avoid: &[],
        zone: None,
    };
    linux.render(&draft).expect("rendered")
}

fn config(text: &str) -> Value {
    let json = text.strip_prefix("#cloud-config\n");
    serde_json::from_str(json.expect("its first line")).expect("JSON")
}

fn content(file: &Value) -> Vec<u8> {
    let content = file["content"].as_str().expect("base64");
    STANDARD.decode(content).expect("base64")
}

#[test]
fn the_boot_clock_comes_first_and_the_request_reads_back() {
    let text = rendered(&linux());
    let config = config(&text);
    let clock = &config["bootcmd"][0];
    assert_eq!(
        (&clock[0], &clock[7]),
        (&json!("cloud-init-per"), &json!("1800"))
    );
    assert_eq!((&clock[8], &clock[9]), (&json!("docker"), &json!("git")));
    let file = &config["write_files"][0];
    let request = Request::from_bytes(&SecretBytes::new(content(file))).expect("a request");
    assert_eq!(request.tags, tags());
    assert_eq!(request.bootstrap.secret, bootstrap().secret);
    assert_eq!(file["permissions"], "0600", "P11");
    assert_eq!(config["runcmd"][0][3], "http://two/agent");
    assert_eq!(config["runcmd"][3][0], "/usr/local/lib/vmpool/extras");

    let shown = without_secrets(&text);
    assert!(shown.contains("\"content\": \"<secret>\""), "P11: {shown}");
    let secret = file["content"].as_str().expect("base64");
    assert!(!shown.contains(secret), "P11: {shown}");
}

#[test]
fn what_a_pool_does_not_need_is_not_in_it() {
    let plain = Linux {
        extras: Vec::new(),
        ..linux()
    };
    let (plain, full) = (rendered(&plain), rendered(&linux()));
    assert!(!plain.contains("extras"), "{plain}");
    println!(
        "user data: {} bytes, with all extras {}",
        plain.len(),
        full.len()
    );
    assert!(full.len() < 16 * 1024, "{} bytes", full.len());
}

#[test]
fn p11_user_data_holds_no_private_key() {
    let config = config(&rendered(&linux()));
    for file in config["write_files"].as_array().expect("files") {
        let content = String::from_utf8_lossy(&content(file)).into_owned();
        assert!(!content.contains("PRIVATE KEY"), "{}", file["path"]);
    }
}

/// Runs a tool, which must be there and have nothing to say against it.
fn satisfied(tool: &mut Command) {
    let output = tool.output();
    let output = output.unwrap_or_else(|error| panic!("{tool:?}: {error}: `cargo xtask setup`"));
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool:?}: {said}{complained}");
}

#[test]
fn cloud_init_finds_the_cloud_config_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("user-data");
    fs::write(&file, rendered(&linux())).expect("written");
    satisfied(
        Command::new("cloud-init")
            .args(["schema", "--config-file"])
            .arg(&file),
    );
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let config = config(&rendered(&linux()));
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("boot-clock");
    let script = config["bootcmd"][0][5].as_str().expect("a script");
    fs::write(&clock, script).expect("written");
    let mut scripts = vec![clock];
    for file in config["write_files"].as_array().expect("files") {
        let path = Path::new(file["path"].as_str().expect("a path"));
        if path.starts_with("/usr/local/lib/vmpool") {
            let script = folder.path().join(path.file_name().expect("a name"));
            fs::write(&script, content(file)).expect("written");
            scripts.push(script);
        }
    }
    assert_eq!(scripts.len(), 4);
    // What the scripts share is shown to it under its name in the sources.
    fs::copy(folder.path().join("tell"), folder.path().join("tell.sh")).expect("copied");
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.args(["--shell=sh", "--external-sources", "--source-path"]);
    satisfied(shellcheck.arg(folder.path()).args(scripts));
}
