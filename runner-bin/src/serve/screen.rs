//! What a person sees first, and the log lines after it.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::args::ServeArgs;
use super::doors::Door;
use super::site::Site;
use super::traces::{self, Exporter};
use crate::out::say;

/// Log lines go to standard error; `level` says which (`debug`,
/// `info,vmpool_core=trace`, …). They are coloured where a person sees them. What
/// a line is about are its fields: `pool`, `stage`, `step`, `machine`, `error`.
/// Where there is a collector of [traces], gives what sends them.
///
/// # Errors
/// `level` is none.
pub(super) fn log(args: &ServeArgs) -> anyhow::Result<Option<Exporter>> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let filter = traces::log_filter(&args.log_level)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(!plain && io::stderr().is_terminal())
        .with_writer(io::stderr);
    let lines = if args.json_logs {
        let lines = lines.json().flatten_event(true).with_span_list(false);
        lines.with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    let (spans, exporter) = traces::begin(args.otlp.as_deref()).unzip();
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .init();
    Ok(exporter)
}

/// Says on standard output what serves where. Nobody need be there to read it.
pub(super) fn first(site: &Site) {
    let file = site.desk.pools();
    let pools: Vec<String> = file
        .pools
        .iter()
        .map(|pool| {
            format!(
                "{} ({} ready, at most {})",
                pool.name, pool.warm, pool.limit
            )
        })
        .collect();
    let http = site.doors.http.address();
    let scheme = if site.access.speaks_tls() {
        "https"
    } else {
        "http"
    };
    let metrics = site.doors.metrics.as_ref().map(Door::address);
    let metrics = metrics.map_or_else(
        || format!("{scheme}://{http}"),
        |own| format!("http://{own}"),
    );
    let peers = site.doors.peers.as_ref();
    let peers = peers.map_or_else(
        || "none".to_owned(),
        |door| {
            let url = site.args.peer_url.as_deref().unwrap_or_default();
            format!("{} as {url}", door.address())
        },
    );
    let _ = say(format_args!(
        "vmpool {} serves\n\
         \x20 builds      {scheme}://{http}\n\
         \x20 gRPC        {scheme}://{} (builds, and what `vmpool pool ls` and others ask)\n\
         \x20 metrics     {metrics}/metrics\n\
         \x20 peers       {peers}\n\
         \x20 pools       {}\n\
         \x20 state       {}\n\
         \x20 journal     {}\n\
         \x20 deployment  {} (id {})\n\
         \x20 process     {}\n",
        env!("CARGO_PKG_VERSION"),
        site.doors.grpc.address(),
        pools.join(", "),
        site.state.path().display(),
        site.journal,
        site.owner,
        site.authority.deployment(),
        std::process::id(),
    ));
}
