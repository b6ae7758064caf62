//! The recorder that `/metrics` is read from, and what this program measures
//! itself: requests, builds by the incumbent's names, the process. What pools,
//! stages and the journal measure they say by the same facade.
//!
//! Invariants: every name that is told has a description, and no label's
//! values are without bound. `docs/metrics.md` is held against a real runner.

mod builds;
mod names;
mod process;
mod requests;

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use vmpool_core::runner::Runner;
use vmpool_pipeline::PoolFile;

pub(super) use builds::Builds;
pub(super) use requests::CountLayer;

/// Between two looks at what was recorded and nobody has asked for.
const UPKEEP: Duration = Duration::from_secs(5);

/// What is recorded. A handle: clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder, before anything counts. Once a process.
    /// `distributed`: the journal is shared with other runners.
    ///
    /// # Errors
    /// Another is installed.
    pub(super) fn install(distributed: bool) -> Result<Self, BuildError> {
        let builder = names::BUCKETS.iter().try_fold(
            PrometheusBuilder::new().set_buckets(names::USUAL)?,
            |builder, (matcher, buckets)| builder.set_buckets_for_metric(matcher.clone(), buckets),
        )?;
        let handle = builder.install_recorder()?;
        vmpool_core::measures::describe();
        vmpool_store::describe();
        names::describe();
        builds::distributed(distributed);
        metrics::gauge!("vmpool_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        Ok(Self(handle))
    }

    /// What Prometheus reads, as it is now.
    pub(super) fn render(&self, runner: Option<&Runner>, pools: &PoolFile) -> String {
        if let Some(runner) = runner {
            runner.measure();
            builds::measure(runner, pools);
        }
        metrics::gauge!("vmpool_serving").set(u8::from(runner.is_some()));
        process::measure();
        self.0.render()
    }

    /// Keeps what nobody reads from growing, for ever.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn keep(&self) {
        let mut every = tokio::time::interval(UPKEEP);
        loop {
            every.tick().await;
            self.0.run_upkeep();
        }
    }
}
