//! Texts of `/proc`, shapes of graphs, and this machine.

use proptest::prelude::*;

use super::*;

fn sample(at_secs: f64, pct: f64) -> Sample {
    Sample {
        at_secs,
        cpu_pct: pct,
        memory_pct: pct / 2.0,
        memory: Memory {
            total: 1024,
            available: 512,
        },
        ..Sample::default()
    }
}

#[test]
fn processor_time_counts_waiting_for_disks_as_idle_and_guests_once() {
    let stat = "cpu  100 5 50 800 20 3 2 20 40 1\ncpu0 1 2 3 4\n";
    assert_eq!(
        parse_cpu(stat),
        Some(CpuTime {
            busy: 180,
            total: 1000
        })
    );
    assert_eq!(
        parse_cpu("cpu  1 1 1 7"),
        Some(CpuTime { busy: 3, total: 10 })
    );
    for text in ["", "cpu", "cpu ", "cpu  1 2", "cpu0 1 2 3 4", "intr 1"] {
        assert_eq!(parse_cpu(text), None, "{text}");
    }
}

#[test]
fn memory_is_what_can_be_had_of_all() {
    let meminfo = "MemTotal:       16303428 kB\nMemFree:  1 kB\nMemAvailable:   12000000 kB\nSwapTotal: 0 kB\n";
    assert_eq!(
        parse_memory(meminfo),
        Some(Memory {
            total: 16_303_428 * 1024,
            available: 12_000_000 * 1024
        })
    );
    assert_eq!(parse_memory("MemTotal: 5 kB\n"), None);
    assert_eq!(
        parse_memory("MemTotal: 5 kB\nMemAvailable: 9 kB\n").map(|memory| memory.available),
        Some(5 * 1024)
    );
}

#[test]
fn disks_are_counted_without_their_partitions() {
    let diskstats = " 259 0 nvme0n1 10 0 200 5 20 0 400 9 0 0 0 0 0 0 0 0\n \
                     259 1 nvme0n1p1 10 0 200 5 20 0 400 9 0 0 0\n 8 0 sda x\n";
    assert_eq!(
        parse_disks(diskstats, |name| name == "nvme0n1"),
        DiskBytes {
            read: 200 * 512,
            written: 400 * 512
        }
    );
}

#[test]
fn a_graph_keeps_its_ends_and_its_peak() {
    let points: Vec<_> = (0..1000_u32)
        .map(|n| Point {
            x: n.into(),
            y: if n == 637 { 90.0 } else { 1.0 },
        })
        .collect();
    let graph = downsample(&points, 10);
    assert_eq!(graph.len(), 10);
    assert_eq!((graph[0], graph[9]), (points[0], points[999]));
    assert!(graph.contains(&points[637]));
    assert!(graph.is_sorted_by(|a, b| a.x < b.x));
}

#[test]
fn a_long_life_is_kept_in_bounded_space_with_exact_mean_and_maximum() {
    let mut series = Series::default();
    for n in 0..100_000_u32 {
        series.push(sample(n.into(), f64::from(n % 100)));
    }
    assert!(series.samples().len() <= 512);
    assert!(series.samples().is_sorted_by(|a, b| a.at_secs < b.at_secs));
    let summary = series.summary();
    assert!((summary.cpu_avg_pct - 49.5).abs() < 1e-6);
    assert!((summary.cpu_max_pct - 99.0).abs() < 1e-9);
    assert!((summary.memory_max_pct - 49.5).abs() < 1e-9);
    assert_eq!(summary.memory_total, 1024);
    let (first, last) = (summary.cpu_graph[0], summary.cpu_graph[9]);
    assert!(first.x < 1.0 && last.x > 90_000.0, "{first:?} {last:?}");
}

#[test]
fn nothing_seen_makes_an_empty_summary() {
    let summary = Series::default().summary();
    assert_eq!(summary.cpu_graph, vec![]);
    assert!(summary.cpu_avg_pct.abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn c60_this_machine_is_sampled_until_cancelled_and_has_a_point_at_once() {
    let tracker = TaskTracker::new();
    let cancel = CancellationToken::new();
    let sampler = Sampler::start(&tracker, cancel.clone(), EVERY);
    let summary = sampler.summary();
    assert_eq!(summary.cpu_graph.len(), 1);
    assert_eq!(summary.memory_graph.len(), 1);
    assert!(summary.memory_total > 1024 * 1024);
    assert!((0.0..=100.0).contains(&summary.cpu_avg_pct));
    assert!((0.0..=100.0).contains(&summary.memory_avg_pct));
    assert!(summary.cpus >= 1);
    tokio::time::sleep(EVERY * 5 + EVERY / 2).await;
    assert_eq!(sampler.summary().cpu_graph.len(), 7);
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
}

proptest! {
    #[test]
    fn any_points_are_thinned_to_so_many_in_order(
        ys in prop::collection::vec(-1e9_f64..1e9, 0..200),
        most in 0_usize..30,
    ) {
        let points: Vec<_> = (0_u32..).zip(&ys).map(|(x, &y)| Point { x: x.into(), y }).collect();
        let graph = downsample(&points, most);
        prop_assert_eq!(graph.len(), points.len().min(most));
        prop_assert!(graph.is_sorted_by(|a, b| a.x < b.x));
        prop_assert!(graph.iter().all(|point| points.contains(point)));
    }

    #[test]
    fn p13_any_text_of_proc_is_read_or_not(text in "(cpu |MemTotal:|MemAvailable:|[0-9]{1,22}|[a-z\n: ]){0,30}") {
        let _ = parse_cpu(&text);
        let _ = parse_memory(&text);
        let _ = parse_disks(&text, |_| true);
    }
}
