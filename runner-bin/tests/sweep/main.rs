//! `vmpool sweep` as its users meet it: the binary, and machines of the local
//! provider in a root of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vmpool_agent::{Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::{
    AgentLink as _, Attempt, Clock, DeploymentId, LaunchOrder, ListedState, OrderDraft, OrderId,
    Owner, Provider as _, Tags, Timestamp,
};
use vmpool_local::{AgentCommand, LocalProvider};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A place for machines, and the pool file that names it.
struct Place {
    directory: TempDir,
    provider: LocalProvider,
    agents: Agents,
    /// The test's own: a host's machines are seen whatever their root.
    owner: String,
    /// Another's.
    foreign: String,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::with_prefix("vmpool-sweep-").expect("a temporary directory");
        let root = directory.path().join("machines");
        let agent = AgentCommand::Path(env!("CARGO_BIN_EXE_vmpool").into());
        let provider = LocalProvider::with_root(agent, &root).expect("this host can have machines");
        let text = format!(
            "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: 1\n  limit: 4\n  \
             spec:\n    root: {}\n",
            root.display()
        );
        fs::write(directory.path().join("pool.yml"), text).expect("write the pool file");
        // However the test ends, its machines end with it.
        let clocks = Clocks {
            attached: true,
            ..Clocks::default()
        };
        let authority = Arc::new(Authority::ephemeral().expect("a root of trust"));
        let agents = Agents::new(authority, clocks, LinkConfig::default());
        Self {
            directory,
            provider,
            agents,
            owner: format!("test-{}", DeploymentId::fresh()),
            foreign: format!("other-{}", DeploymentId::fresh()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Launches a machine.
    async fn launch(&self, owner: &str, deployment: &DeploymentId, expires_at: Timestamp) {
        let tags = Tags {
            owner: owner.into(),
            deployment: deployment.clone(),
            pool: "linux".into(),
            order: OrderId::fresh(),
            attempt: Attempt(1),
            expires_at,
        };
        let bootstrap = self.agents.bootstrap(&tags.order, tags.attempt);
        let draft = OrderDraft {
            count: 1,
            tags: &tags,
            bootstrap: &bootstrap,
            avoid: &[],
            zone: None,
        };
        let order = LaunchOrder {
            id: tags.order.clone(),
            attempt: tags.attempt,
            count: 1,
            request: self.provider.render(&draft).expect("it can be rendered"),
        };
        let outcome = self.provider.launch(&order).await;
        assert_eq!(outcome.machines.len(), 1, "{outcome:?}");
    }

    /// The deployments whose machines of `owner` are alive, one a machine.
    async fn alive(&self, owner: &str) -> Vec<DeploymentId> {
        let listing = self.provider.list(&Owner::new(owner)).await;
        let machines = listing.expect("they are listed").machines.into_iter();
        machines
            .filter(|machine| machine.state == ListedState::Alive)
            .map(|machine| machine.tags.deployment)
            .collect()
    }

    async fn wait_until_alive(&self, owner: &str, wanted: &[&DeploymentId]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let alive = self.alive(owner).await;
            if alive.iter().collect::<Vec<_>>() == wanted {
                return;
            }
            assert!(
                Instant::now() < until,
                "{alive:?} are alive, not {wanted:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn sweep(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vmpool"))
            .args([
                "sweep",
                "--pool",
                "pool.yml",
                "--state",
                "state",
                "--deployment",
                &self.owner,
            ])
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .expect("vmpool runs")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.sweep(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        text
    }
}

fn in_an_hour() -> Timestamp {
    Clock::system().now().after(Duration::from_hours(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_machines_of_a_lost_deployment_end_when_a_person_names_it_and_not_before() {
    let place = Place::new();
    let lost = DeploymentId::fresh();
    place.launch(&place.owner, &lost, in_an_hour()).await;
    place.launch(&place.owner, &lost, Timestamp(1)).await;
    place.launch(&place.foreign, &lost, Timestamp(1)).await;

    // The state directory does not exist, and is not made by looking.
    let said = place.says(&[]);
    assert!(said.contains("whose id is not known here"), "{said}");
    assert!(said.contains("2 machines, 1 of them expired"), "{said}");
    let command = format!(
        "vmpool sweep --pool pool.yml --state state --deployment {} --deployment-id {lost} --yes",
        place.owner
    );
    assert!(said.contains(&command), "{said}");
    let _ = place.says(&["--yes"]);
    let said = place.says(&["--deployment-id", lost.as_str()]);
    assert_eq!(said.matches("would be ended").count(), 2, "{said}");
    assert!(!place.path("state").exists());
    assert_eq!(
        place.alive(&place.owner).await,
        [lost.clone(), lost.clone()]
    );

    let said = place.says(&["--deployment-id", lost.as_str(), "--yes"]);
    assert_eq!(
        said.matches("ends, because its deployment was named")
            .count(),
        2,
        "{said}"
    );
    place.wait_until_alive(&place.owner, &[]).await;
    assert_eq!(
        place.alive(&place.foreign).await,
        std::slice::from_ref(&lost)
    );
    assert!(place.says(&[]).contains("nothing to end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_without_a_name_only_our_own_expired_machines_end() {
    let place = Place::new();
    let ours = Authority::open_or_create(&place.path("state")).expect("a root of trust");
    let ours = ours.deployment().clone();
    let other = DeploymentId::fresh();
    place.launch(&place.owner, &ours, in_an_hour()).await;
    place.launch(&place.owner, &ours, Timestamp(1)).await;
    place.launch(&place.owner, &other, Timestamp(1)).await;

    let report: Value = serde_json::from_str(&place.says(&["--json", "--yes"])).expect("JSON");
    assert_eq!(report["deployment_id"], ours.as_str());
    assert_eq!(
        report["machines"].as_array().map(Vec::len),
        Some(1),
        "{report}"
    );
    assert_eq!(report["machines"][0]["why"], "it is expired");
    assert_eq!(report["others"][0]["deployment_id"], other.as_str());
    let mut left = [&ours, &other];
    let until = Instant::now() + PATIENCE;
    left.sort();
    loop {
        let mut alive = place.alive(&place.owner).await;
        alive.sort();
        if alive.iter().collect::<Vec<_>>() == left {
            return;
        }
        assert!(Instant::now() < until, "{alive:?} are alive, not {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn p13_bad_input_ends_nothing_and_says_what_is_wrong() {
    let directory = TempDir::with_prefix("vmpool-sweep-").expect("a temporary directory");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vmpool"))
            .arg("sweep")
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("vmpool runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = run(&["--pool", "none.yml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("none.yml"), "{said}");
    fs::write(directory.path().join("bad.yml"), "instances: 7\n").expect("write the file");
    let (code, said) = run(&["--pool", "bad.yml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("instances"), "{said}");
}
