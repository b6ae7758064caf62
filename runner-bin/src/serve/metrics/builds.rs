//! Builds by the names that dashboards of the incumbent use.
//!
//! What differs from it: no label has a machine's address, an image, a zone or a
//! VM's type, which have no bound or are not known here; of the owners the first
//! [`MOST_OWNERS`] have their own name and all others are one; histograms have
//! no owner. Gauges are exact when they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::Label;
use parking_lot::Mutex;
use tokio::time::Instant;
use vmpool_core::Lease;
use vmpool_core::machine::MachineState;
use vmpool_core::pool::Origin;
use vmpool_core::runner::{Runner, RunnerError};
use vmpool_pipeline::{PoolFile, PoolSpec, Source, Wanted};

/// Owners with a name of their own in labels.
const MOST_OWNERS: usize = 50;

/// Characters of an owner's name.
const LONGEST_OWNER: usize = 64;

/// Owners beyond those.
const OTHER: &str = "other";

/// The recorder is the process's, and so is what its labels are made of.
static OWNERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static DISTRIBUTED: AtomicBool = AtomicBool::new(false);
static SHOWN: OnceLock<Mutex<Shown>> = OnceLock::new();

/// Gauges that were set, to be 0 when nothing tells of them any more.
type Shown = BTreeMap<(&'static str, Labels), u32>;
type Labels = Vec<(&'static str, String)>;

/// A stage's request for a machine, while it is carried out.
#[derive(Debug)]
pub(in crate::serve) struct Builds<'a> {
    wanted: &'a Wanted,
    pool: &'a PoolSpec,
    begun: Instant,
    is_fallback: bool,
}

/// Says whether this runner shares its journal.
pub(in crate::serve) fn distributed(is: bool) {
    DISTRIBUTED.store(is, Ordering::Relaxed);
}

impl<'a> Builds<'a> {
    /// `pool` is asked for a machine. `is_fallback`: it is not the first.
    pub(in crate::serve) fn asks(
        wanted: &'a Wanted,
        pool: &'a PoolSpec,
        is_fallback: bool,
    ) -> Self {
        Self {
            wanted,
            pool,
            begun: Instant::now(),
            is_fallback,
        }
    }

    /// What came of it. A stage that had its machine already is counted
    /// already, and one whose pool is elsewhere is counted there.
    pub(in crate::serve) fn ended(self, ended: &Result<Lease, RunnerError>) {
        if let Ok(lease) = ended
            && lease.origin() != Origin::Attached
        {
            tracing::info!(
                pool = self.pool.name, stage = %lease.stage(), machine = %lease.machine_id(),
                took_ms = u64::try_from(self.begun.elapsed().as_millis()).ok(),
                "a stage has its machine"
            );
        }
        let waited = match ended.as_ref().map(Lease::origin) {
            Ok(Origin::Attached) | Err(RunnerError::NotOurs { .. }) => return,
            Ok(Origin::Warm) => Some((0.0, true)),
            Ok(Origin::Waited(span)) => Some((span.as_secs_f64(), false)),
            Err(_) => None,
        };
        let owner = owner_label(self.wanted);
        let mut of_pool = labels_of(self.pool);
        if self.is_fallback {
            let mut labels = of_pool.clone();
            labels.push(("success", waited.is_some().to_string()));
            count("harness_ci_pipeline_pool_fallbacks", &labels, &owner);
        }
        let Some((span, warmed)) = waited else {
            let is_distributed = distributed_label();
            count(
                "harness_ci_pipeline_execution_errors_total",
                &of_pool,
                &owner,
            );
            count("harness_ci_errors_total", &[is_distributed], &owner);
            return;
        };
        count("harness_ci_pipeline_execution_total", &of_pool, &owner);
        of_pool.push(("is_fallback", self.is_fallback.to_string()));
        of_pool.push(("warmed", warmed.to_string()));
        of_pool.push(("hibernated", "false".to_owned()));
        let labels = told(&of_pool);
        metrics::histogram!("harness_ci_runner_wait_duration_seconds", labels.clone()).record(span);
        metrics::histogram!("harness_ci_runner_total_vm_init_duration_seconds", labels)
            .record(self.begun.elapsed().as_secs_f64());
    }
}

/// Sets the gauges of all pools of this runner.
pub(super) fn measure(runner: &Runner, pools: &PoolFile) {
    let mut shown = SHOWN.get_or_init(Mutex::default).lock();
    shown.values_mut().for_each(|machines| *machines = 0);
    for standing in runner.status() {
        let spec = pools.pool(standing.name.as_str());
        let (Some(status), Some(spec)) = (standing.status, spec) else {
            continue;
        };
        let labels = labels_of(spec);
        let mut add = |name: &'static str, state: Option<&str>, machines: u32| {
            let mut labels = labels.clone();
            labels.extend(state.map(|state| ("state", state.to_owned())));
            *shown.entry((name, labels)).or_default() += machines;
        };
        add(
            "harness_ci_pipeline_running_executions",
            Some("inuse"),
            status.claimed,
        );
        add(
            "harness_ci_pipeline_warm_pool_executions",
            Some("created"),
            status.ready,
        );
        for state in [
            "provisioning",
            "created",
            "inuse",
            "hibernating",
            "terminating",
        ] {
            let machines = status.machines.iter();
            let machines = machines.filter(|machine| word(machine.state) == state);
            let machines = u32::try_from(machines.count()).unwrap_or(u32::MAX);
            add("runner_vms_current", Some(state), machines);
        }
    }
    for ((name, labels), machines) in &*shown {
        metrics::gauge!(*name, told(labels)).set(*machines);
    }
}

/// The incumbent's word for a state.
fn word(state: MachineState) -> &'static str {
    use MachineState as S;
    match state {
        S::Booting | S::Resuming => "provisioning",
        S::Ready => "created",
        S::Claimed | S::Held => "inuse",
        S::Suspending | S::Suspended => "hibernating",
        S::Draining | S::Terminating => "terminating",
        S::Gone | S::Lost => "",
    }
}

fn labels_of(pool: &PoolSpec) -> Labels {
    let driver = match pool.source {
        Source::Local(_) => "local",
        Source::Amazon(_) => "amazon",
    };
    let variant = pool.variant.as_ref();
    let of_variant = |what: fn(&vmpool_pipeline::Variant) -> &String| {
        variant.map_or_else(|| "default".to_owned(), |variant| what(variant).clone())
    };
    vec![
        ("pool_id", pool.base.clone()),
        ("os", pool.platform.os.clone()),
        ("arch", pool.platform.arch.clone()),
        ("driver", driver.to_owned()),
        distributed_label(),
        ("variant_id", of_variant(|variant| &variant.id)),
        (
            "resource_class",
            of_variant(|variant| &variant.resource_class),
        ),
    ]
}

fn distributed_label() -> (&'static str, String) {
    let is = DISTRIBUTED.load(Ordering::Relaxed);
    ("distributed", is.to_string())
}

fn count(name: &'static str, labels: &[(&'static str, String)], owner: &str) {
    let mut labels = told(labels);
    labels.push(Label::new("owner_id", owner.to_owned()));
    metrics::counter!(name, labels).increment(1);
}

fn told(labels: &[(&'static str, String)]) -> Vec<Label> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| Label::new(*name, value.clone()))
        .collect()
}

/// Whose build it is, for a label: `free` for accounts that pay nothing, else
/// the account.
fn owner_label(wanted: &Wanted) -> String {
    if wanted.free || wanted.pool.contains("free") {
        return "free".to_owned();
    }
    let owner: String = wanted.account.chars().take(LONGEST_OWNER).collect();
    let mut owners = OWNERS.lock();
    if owners.contains(&owner) {
        return owner;
    }
    if owners.len() >= MOST_OWNERS {
        return OTHER.to_owned();
    }
    owners.insert(owner.clone());
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 32 of the incumbent's interface.
    #[test]
    fn an_owner_is_free_or_its_account_and_beyond_a_number_of_them_one_of_the_others() {
        let of = |account: &str, free: bool| {
            let account = account.to_owned();
            owner_label(&Wanted {
                account,
                free,
                ..Wanted::default()
            })
        };
        assert_eq!(of("a", true), "free");
        let pool = "linux-free-amd64".to_owned();
        assert_eq!(
            owner_label(&Wanted {
                pool,
                ..Wanted::default()
            }),
            "free"
        );
        for n in 0..MOST_OWNERS {
            assert_eq!(of(&n.to_string(), false), n.to_string());
        }
        assert_eq!(of("one more", false), OTHER);
        assert_eq!(of("7", false), "7");
    }
}
