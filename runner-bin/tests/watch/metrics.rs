//! `docs/metrics.md` says what `/metrics` of a real runner says, no more and no
//! less, after builds of every kind; and no label grows without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use prometheus_parse::{Scrape, Value};

use crate::support::{Site, setup, step, wait_for};

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Between these lines is the table.
const BEGIN: &str = "<!-- as a runner tells them -->\n";
const END: &str = "<!-- the end of what a runner tells -->\n";

/// One metric as it is told.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: &'static str,
    pub(crate) labels: BTreeSet<String>,
    says: String,
}

/// A runner's `/metrics` after builds that went well, failed, waited in vain.
pub(crate) async fn of_a_runner_that_built() -> String {
    let site = Site::new(1, 1);
    let runner = site.serve().await;
    site.setup("S1").await;
    for (id, script) in [("good", "echo hello"), ("bad", "exit 3")] {
        let answer = site.insist("/step", &step("S1", id, script)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // All slots are taken, so this one waits until it is destroyed.
    let (request, over) = (setup("S2"), serde_json::json!({"id": "S2"}));
    let (refused, ()) = tokio::join!(site.insist("/setup", &request), async {
        wait_for("a request that waits", async || {
            let told = site.get("/metrics").await?.body;
            told.contains("vmpool_requests_waiting{pool=\"linux\"} 1")
                .then_some(())
        })
        .await;
        site.insist("/destroy", &over).await;
    });
    assert_eq!(refused.status, 500, "{refused:?}");
    let told = site.get("/metrics").await.expect("an answer").body;
    let running = "vmpool_machines{pool=\"linux\",state=\"claimed\"} 1";
    assert!(told.contains(running), "{told}");
    site.destroy("S1").await;
    site.setup("S3").await;
    site.get("/nothing/here").await;
    let asked = Command::new(env!("CARGO_BIN_EXE_vmpool"))
        .args(["pool", "ls", "--state"])
        .arg(site.path().join("state"))
        .env_remove("VMPOOL_JOURNAL")
        .output()
        .expect("run vmpool pool ls");
    assert!(asked.status.success(), "{asked:?}");
    let told = site.get("/metrics").await.expect("an answer").body;
    site.destroy("S3").await;
    assert!(runner.stop().await.success());
    told
}

/// The metrics of a text that Prometheus reads.
pub(crate) fn families(text: &str) -> BTreeMap<String, Family> {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).expect("what Prometheus can read");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for sample in scrape.samples {
        let base = ["_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| sample.metric.strip_suffix(suffix))
            .find(|base| scrape.docs.contains_key(*base));
        let name = base.unwrap_or(&sample.metric);
        let family = families.entry(name.to_owned()).or_default();
        match sample.value {
            Value::Counter(_) => family.kind = "counter",
            Value::Gauge(_) => family.kind = "gauge",
            Value::Histogram(_) => family.kind = "histogram",
            Value::Summary(_) | Value::Untyped(_) => {}
        }
        let labels = sample.labels.keys().filter(|label| *label != "le");
        family.labels.extend(labels.cloned());
    }
    for (name, family) in &mut families {
        family.says = scrape.docs.get(name).cloned().unwrap_or_default();
    }
    families
}

fn table(families: &BTreeMap<String, Family>) -> String {
    let mut table = "| name | kind | labels | says |\n|---|---|---|---|\n".to_owned();
    for (name, family) in families {
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let Family { kind, says, .. } = family;
        let _ = writeln!(
            table,
            "| `{name}` | {kind} | {} | {says} |",
            labels.join(", ")
        );
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_says_what_a_runner_says_after_builds() {
    let told = of_a_runner_that_built().await;
    let families = families(&told);
    let silent: Vec<_> = families
        .iter()
        .filter(|(_, of)| of.says.is_empty())
        .collect();
    assert!(silent.is_empty(), "they have no description: {silent:?}");
    // Case 33 of the incumbent's interface.
    for name in [
        "harness_ci_pipeline_execution_total",
        "harness_ci_pipeline_execution_errors_total",
        "harness_ci_pipeline_running_executions",
        "harness_ci_runner_wait_duration_seconds",
        "harness_ci_runner_total_vm_init_duration_seconds",
    ] {
        assert!(families.contains_key(name), "{name} is not told: {told}");
    }
    for (name, family) in &families {
        for unbounded in ["address", "machine", "stage", "step", "image_name"] {
            assert!(!family.labels.contains(unbounded), "{name} has {unbounded}");
        }
    }
    let (_, rest) = PAGE.split_once(BEGIN).expect("the page has a table");
    let (page, _) = rest.split_once(END).expect("the table has an end");
    let table = table(&families);
    assert!(
        page == table,
        "the table of docs/metrics.md must be:\n{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_those_of_the_builds() {
    let told = of_a_runner_that_built().await;
    for line in [
        "vmpool_setups_total{pool=\"linux\",outcome=\"prepared\"} 2",
        "vmpool_setups_total{pool=\"linux\",outcome=\"no_machine\"} 1",
        "vmpool_steps_ended_total{pool=\"linux\",outcome=\"succeeded\"} 1",
        "vmpool_steps_ended_total{pool=\"linux\",outcome=\"failed\"} 1",
        "vmpool_stages_ended_total{pool=\"linux\",how=\"released\"} 1",
        "vmpool_http_requests_total{route=\"/step\",status=\"200\"} 2",
        "vmpool_http_requests_total{route=\"other\",status=\"404\"} 1",
        "vmpool_pool_owned{pool=\"linux\"} 1",
        "vmpool_unaccounted_machines{pool=\"linux\"} 0",
        "vmpool_serving 1",
    ] {
        assert!(told.contains(&format!("{line}\n")), "{line}: {told}");
    }
}
