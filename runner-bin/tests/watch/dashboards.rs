//! The dashboard and the rules ask for what a real runner tells: each metric
//! and each label of each expression, by a parser of Prometheus's language.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::metrics::of_a_runner_that_built;

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_asks_for_what_a_runner_tells() {
    let told = of_a_runner_that_built().await;
    // It is no member of the workspace: its parser would have most of the
    // workspace built with other features.
    let mut check = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(deployed("check/Cargo.toml"))
        .arg("--")
        .arg(deployed("grafana/vmpool.json"))
        .arg(deployed("prometheus/vmpool.rules.yml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run cargo");
    let mut scrape = check.stdin.take().expect("a pipe");
    scrape
        .write_all(told.as_bytes())
        .expect("give it the metrics");
    drop(scrape);
    let checked = check.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

#[test]
fn prometheus_takes_the_rules() {
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(deployed("prometheus/vmpool.rules.yml"))
        .output()
        .expect("run promtool");
    assert!(checked.status.success(), "{checked:?}");
}
