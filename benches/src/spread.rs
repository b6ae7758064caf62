//! How a figure spreads over its samples.

use std::fmt;
use std::time::Duration;

/// Samples of one figure.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    nanos: Vec<u64>,
}

impl Spread {
    pub(crate) fn with_capacity(samples: usize) -> Self {
        Self {
            nanos: Vec::with_capacity(samples),
        }
    }

    pub(crate) fn add(&mut self, sample: Duration) {
        self.nanos
            .push(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn join(mut self, other: Self) -> Self {
        self.nanos.extend(other.nanos);
        self
    }

    /// The sample below which `percent` of all lie.
    pub(crate) fn at(&mut self, percent: usize) -> Duration {
        self.nanos.sort_unstable();
        let last = self.nanos.len().saturating_sub(1);
        let at = (self.nanos.len() * percent / 100).min(last);
        Duration::from_nanos(self.nanos.get(at).copied().unwrap_or_default())
    }

    /// The median and the 99th percentile, as a cell.
    pub(crate) fn cell(&mut self) -> String {
        format!("p50 {}, p99 {}", Short(self.at(50)), Short(self.at(99)))
    }
}

/// A duration with three digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            s if s < 1e-6 => write!(f, "{:.0} ns", s * 1e9),
            s if s < 1e-3 => write!(f, "{:.2} µs", s * 1e6),
            s if s < 1.0 => write!(f, "{:.2} ms", s * 1e3),
            s => write!(f, "{s:.2} s"),
        }
    }
}
