//! The picture of docs/benchmarks.md: how long a claim takes, by how many tasks
//! claim at the same time and how many machines there are.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::contended;

const MACHINES: [usize; 4] = [1, 8, 50, 500];
const TASKS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Claims of all tasks together, for one point.
const CLAIMS: usize = 60_000;
const COLOURS: [RGBColor; 4] = [RED, BLUE, GREEN, MAGENTA];

/// A line of the picture: a pool's size, and the median and the 99th
/// percentile in microseconds for each number of tasks.
struct Line {
    machines: usize,
    points: Vec<(f64, f64, f64)>,
}

/// Measures, and draws to `file`.
pub(crate) fn draw(file: &Path) -> Result<()> {
    let lines = measure()?;
    let root = SVGBackend::new(file, (860, 520)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Claim latency: median (dots), 99th percentile (lines)",
            ("sans-serif", 20),
        )
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((1f64..256f64).log_scale(), (0.02f64..2_000f64).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("tasks that claim at the same time")
        .y_desc("µs")
        .draw()
        .map_err(failed)?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let late = line.points.iter().map(|(tasks, _, p99)| (*tasks, *p99));
        chart
            .draw_series(LineSeries::new(late, colour.stroke_width(2)))
            .map_err(failed)?
            .label(format!("{} machines", line.machines))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour));
        let dots = line.points.iter();
        let dots = dots.map(|(tasks, p50, _)| Circle::new((*tasks, *p50), 3, colour.filled()));
        chart.draw_series(dots).map_err(failed)?;
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)
}

fn measure() -> Result<Vec<Line>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let micros = |span: std::time::Duration| span.as_secs_f64() * 1e6;
    let mut lines = Vec::new();
    for machines in MACHINES {
        let mut points = Vec::new();
        for tasks in TASKS {
            let spread = contended::ours(tasks, machines, CLAIMS / tasks);
            let mut spread = runtime.block_on(spread)?;
            let at = f64::from(u32::try_from(tasks)?);
            points.push((at, micros(spread.at(50)), micros(spread.at(99))));
        }
        lines.push(Line { machines, points });
    }
    Ok(lines)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw the picture: {error}")
}
