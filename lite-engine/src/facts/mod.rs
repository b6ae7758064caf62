//! How the machine fares: processors, memory and disks over time.
//!
//! A [`Sampler`] reads a few lines of `/proc` now and then, in a task of the
//! caller's tracker, and keeps a [`Series`] of bounded length: a machine's whole
//! life, ever more coarsely. Reading costs some ten microseconds; between two
//! samples nothing happens.
//!
//! ```text
//! /proc ──proc──► Reading ──difference to the one before──► Sample ──► Series ──lttb──► Summary
//! ```
//!
//! Who wants to know how it fares at a moment has a [`Gauge`] of its own, and
//! asks for the [`Space`] that is left on a disk.
//!
//! Where a file of `/proc` can't be read its figures are 0.

mod lttb;
mod proc;
mod series;
mod space;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use lttb::{Point, downsample};
use proc::Reading;
pub use proc::{CpuTime, DiskBytes, Memory, parse_cpu, parse_disks, parse_memory};
pub use series::{Series, Summary};
pub use space::Space;

/// How often the machine is looked at where nobody says otherwise.
pub const EVERY: Duration = Duration::from_secs(30);

/// How the machine fared from the sample before until now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since the sampler's start, in seconds.
    pub at_secs: f64,
    /// Processor time used, in percent of all processors.
    pub cpu_pct: f64,
    /// Memory that can't be had without swapping, in percent.
    pub memory_pct: f64,
    /// The memory at this time.
    pub memory: Memory,
    /// Bytes read from all disks, per second.
    pub disk_read_per_sec: f64,
    /// Bytes written to all disks, per second.
    pub disk_written_per_sec: f64,
}

/// Looks at the machine as long as its tracker's task lives. A clone is the same sampler.
#[derive(Clone, Debug)]
pub struct Sampler {
    shared: Arc<Mutex<Watched>>,
}

#[derive(Debug)]
struct Watched {
    gauge: Gauge,
    latest: Sample,
    series: Series,
}

/// One reader's looks at the machine: each tells what happened since the one
/// before. Nothing happens between them.
#[derive(Clone, Debug)]
pub struct Gauge {
    begun: Instant,
    last: (Instant, Reading),
}

impl Gauge {
    /// Begins now.
    pub fn start() -> Self {
        let begun = Instant::now();
        let last = (begun, Reading::take());
        Self { begun, last }
    }

    /// Looks at the machine now.
    pub fn look(&mut self) -> Sample {
        let (now, reading) = (Instant::now(), Reading::take());
        let (before, last) = std::mem::replace(&mut self.last, (now, reading));
        reading.since(
            &last,
            now.saturating_duration_since(before),
            now.saturating_duration_since(self.begun),
        )
    }
}

impl Sampler {
    /// Begins to sample `every` so often, in a task that ends with `cancel`.
    pub fn start(tracker: &TaskTracker, cancel: CancellationToken, every: Duration) -> Self {
        let now = Instant::now();
        let sampler = Self {
            shared: Arc::new(Mutex::new(Watched {
                gauge: Gauge::start(),
                latest: Sample::default(),
                series: Series::default(),
            })),
        };
        let mut ticks = tokio::time::interval_at(now + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sampling = sampler.clone();
        tracker.spawn(async move {
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                sampling.sample();
            }
        });
        sampler
    }

    /// Looks at the machine now.
    pub fn sample(&self) -> Sample {
        let mut watched = self.shared.lock();
        let sample = watched.gauge.look();
        watched.latest = sample;
        watched.series.push(sample);
        sample
    }

    /// What was seen last.
    pub fn latest(&self) -> Sample {
        self.shared.lock().latest
    }

    /// The machine's figures until now, which this looks at once more.
    pub fn summary(&self) -> Summary {
        self.sample();
        self.shared.lock().series.summary()
    }
}

#[cfg(test)]
mod tests;
