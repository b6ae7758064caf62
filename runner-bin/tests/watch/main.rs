//! What watches over a runner, seen with the real program: metrics, dashboards
//! and alerts, its log, its service manager, its traces.

mod dashboards;
mod log;
mod manager;
mod metrics;
#[path = "../site/support.rs"]
#[expect(dead_code, reason = "other suites need more of it")]
mod support;
mod traces;
