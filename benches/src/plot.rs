//! The picture of docs/benchmarks.md: how long a claim takes, by how many ask at
//! the same time and how many machines there are. Left the ready queue by itself,
//! right whole acquires whose claims are in a SQLite file before they are answered.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::spread::Spread;
use crate::store::Store;
use crate::world::World;
use crate::{contended, durable};

const TASKS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const COLOURS: [RGBColor; 4] = [RED, BLUE, GREEN, MAGENTA];

/// The queue's machines: they come back, so a few serve many.
const MACHINES: [usize; 4] = [1, 8, 50, 500];
/// Claims of all tasks together, for one point.
const CLAIMS: usize = 60_000;
/// A pool's machines: each serves one request, and another takes its place.
const POOLS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Acquires of all requests together, for one point.
const ACQUIRES: u32 = 256;

/// A line of the picture: a pool's size, and the median and the 99th
/// percentile in microseconds for each number of tasks.
struct Line {
    label: String,
    points: Vec<(f64, f64, f64)>,
}

/// Measures, and draws to `file`.
pub(crate) fn draw(file: &Path) -> Result<()> {
    let (queue, pool) = (queue()?, crate::runtime()?.block_on(pool())?);
    let root = SVGBackend::new(file, (1_240, 520)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let (left, right) = root.split_horizontally(620);
    panel(&left, "the ready queue", &queue, 0.02..2_000.0)?;
    panel(&right, "acquire, durable in SQLite", &pool, 20.0..200_000.0)?;
    root.present().map_err(failed)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lines: &[Line],
    micros: Range<f64>,
) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{title}: median (dots), 99th percentile (lines)"),
            ("sans-serif", 18),
        )
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((1f64..256f64).log_scale(), micros.log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("requests at the same time")
        .y_desc("µs")
        .draw()
        .map_err(failed)?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let late = line.points.iter().map(|(tasks, _, p99)| (*tasks, *p99));
        chart
            .draw_series(LineSeries::new(late, colour.stroke_width(2)))
            .map_err(failed)?
            .label(line.label.clone())
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
    Ok(())
}

fn queue() -> Result<Vec<Line>> {
    let runtime = crate::runtime()?;
    let mut lines = Vec::new();
    for machines in MACHINES {
        let mut points = Vec::new();
        for tasks in TASKS {
            let spread = contended::ours(tasks, machines, CLAIMS / tasks);
            points.push(point(tasks, runtime.block_on(spread)?)?);
        }
        let label = format!("{machines} machines");
        lines.push(Line { label, points });
    }
    Ok(lines)
}

async fn pool() -> Result<Vec<Line>> {
    let store = Store::sqlite()?;
    let mut lines = Vec::new();
    for machines in POOLS {
        let place = store.place(&format!("pool-{machines}"));
        let world = World::new(machines, machines, store.open(&place).await?).await?;
        let mut points = Vec::new();
        for tasks in TASKS {
            let at_once = u32::try_from(tasks)?;
            if at_once > machines {
                break;
            }
            let mut spread = Spread::default();
            for round in 0..ACQUIRES / at_once {
                world.ready(machines).await?;
                let name = format!("{tasks}-{round}");
                let (each, _, stages) = durable::at_once(&world, at_once, &name).await?;
                spread = spread.join(each);
                world.release(&stages).await?;
            }
            points.push(point(tasks, spread)?);
        }
        world.end().await;
        let label = format!("{machines} machines");
        lines.push(Line { label, points });
    }
    Ok(lines)
}

fn point(tasks: usize, mut spread: Spread) -> Result<(f64, f64, f64)> {
    let micros = |span: Duration| span.as_secs_f64() * 1e6;
    let at = f64::from(u32::try_from(tasks)?);
    Ok((at, micros(spread.at(50)), micros(spread.at(99))))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw the picture: {error}")
}
