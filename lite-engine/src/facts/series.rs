//! Samples of a machine's whole life in bounded space.

use super::lttb::{Point, downsample};
use super::{Memory, Sample};

/// Samples kept; at one in 30 s the first thinning comes after four hours.
const MOST: usize = 512;

/// Points of a graph.
const GRAPH: usize = 10;

/// Samples in the order of time. When it is full every other one goes, and
/// from then on every other one is kept; averages and maxima count them all.
#[derive(Clone, Debug)]
pub struct Series {
    kept: Vec<Sample>,
    /// Of so many samples one is kept.
    stride: u64,
    seen: u64,
    cpu: Figure,
    memory: Figure,
    total: Memory,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            stride: 1,
            seen: 0,
            cpu: Figure::default(),
            memory: Figure::default(),
            total: Memory::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    mean: f64,
    max: f64,
}

/// A machine's life in a few figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The machine's memory, in bytes.
    pub memory_total: u64,
    /// Its processors.
    pub cpus: usize,
    /// On average, in percent.
    pub memory_avg_pct: f64,
    /// At most, in percent.
    pub memory_max_pct: f64,
    /// On average, in percent.
    pub cpu_avg_pct: f64,
    /// At most, in percent.
    pub cpu_max_pct: f64,
    /// Percent over seconds: up to ten points that keep the shape.
    pub memory_graph: Vec<Point>,
    /// Percent over seconds: up to ten points that keep the shape.
    pub cpu_graph: Vec<Point>,
}

impl Series {
    /// Takes the next sample.
    pub fn push(&mut self, sample: Sample) {
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == MOST {
                let mut even = false;
                self.kept.retain(|_| {
                    even = !even;
                    even
                });
                self.stride = self.stride.saturating_mul(2);
            }
            self.kept.push(sample);
        }
        self.seen += 1;
        self.cpu.add(sample.cpu_pct, self.seen);
        self.memory.add(sample.memory_pct, self.seen);
        self.total = sample.memory;
    }

    /// Samples that are kept.
    pub fn samples(&self) -> &[Sample] {
        &self.kept
    }

    /// All of it in a few figures.
    pub fn summary(&self) -> Summary {
        let graph = |figure: fn(&Sample) -> f64| {
            let points: Vec<_> = self
                .kept
                .iter()
                .map(|sample| Point {
                    x: sample.at_secs,
                    y: figure(sample),
                })
                .collect();
            downsample(&points, GRAPH)
        };
        Summary {
            memory_total: self.total.total,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_avg_pct: self.memory.mean,
            memory_max_pct: self.memory.max,
            cpu_avg_pct: self.cpu.mean,
            cpu_max_pct: self.cpu.max,
            memory_graph: graph(|sample| sample.memory_pct),
            cpu_graph: graph(|sample| sample.cpu_pct),
        }
    }
}

impl Figure {
    /// Takes the value of the `count`th sample.
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn add(&mut self, value: f64, count: u64) {
        self.mean += (value - self.mean) / count as f64;
        self.max = self.max.max(value);
    }
}
