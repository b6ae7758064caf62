//! What a person sees first, and the log lines after it.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::doors::Door;
use super::site::Site;
use crate::out::say;

/// Log lines go to standard error; `VMPOOL_LOG` says which (`debug`,
/// `vmpool_core=trace`, …). They are coloured where a person sees them.
pub(super) fn log(json: bool) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let filter = EnvFilter::try_from_env("VMPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain && io::stderr().is_terminal())
        .with_writer(io::stderr);
    if json {
        lines.json().init();
    } else {
        lines.init();
    }
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
         \x20 tools       {scheme}://{} (gRPC)\n\
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
