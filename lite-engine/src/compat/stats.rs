//! How the machine fared, as `/destroy` tells it.

use vmpool_proto::incumbent::{Graph, OsStats, Point};

use crate::facts::{self, Summary};

const MIB: u64 = 1024 * 1024;

/// The incumbent's words; its graphs are percentages, whatever their metric says.
pub(super) fn told(summary: &Summary) -> OsStats {
    OsStats {
        total_mem_mb: summary.memory_total / MIB,
        cpu_cores: summary.cpus as u64,
        avg_mem_usage_pct: summary.memory_avg_pct,
        avg_cpu_usage_pct: summary.cpu_avg_pct,
        max_mem_usage_pct: summary.memory_max_pct,
        max_cpu_usage_pct: summary.cpu_max_pct,
        mem_graph: graph(&summary.memory_graph, "mem_mb"),
        cpu_graph: graph(&summary.cpu_graph, "cpu_milli"),
    }
}

fn graph(points: &[facts::Point], metric: &str) -> Graph {
    let points = points.iter();
    Graph {
        points: points
            .map(|point| Point {
                x: point.x,
                y: point.y,
            })
            .collect(),
        xmetric: "seconds".into(),
        ymetric: metric.into(),
    }
}
