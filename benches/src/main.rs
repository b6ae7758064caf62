//! The figures of docs/benchmarks.md: each beside its baseline, measured in the
//! same run on the same machine.
//!
//! `cargo xtask figures` runs this in release mode and writes the table.

mod agents;
mod boots;
mod claim;
mod cloud;
mod contended;
mod durable;
mod large;
mod load;
mod machine;
mod memory;
mod plot;
mod site;
mod spread;
mod step;
mod store;
mod table;
mod world;

use std::process::ExitCode;

use anyhow::Result;

use crate::store::Store;

fn main() -> ExitCode {
    // The agents of the step benches are this program again.
    vmpool_local::run_agent_if_asked();
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As the runner has: two threads.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

fn large_ones() -> Result<Vec<table::Row>> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build()?.block_on(large::run())
}

fn on_disk(store: &Store) -> Result<Vec<table::Row>> {
    runtime()?.block_on(async {
        let mut rows = durable::run(store).await?;
        rows.push(large::durable(store).await?);
        rows.push(large::burst(store).await?);
        rows.push(large::restart(store).await?);
        Ok(rows)
    })
}

fn measure() -> Result<()> {
    let markdown = std::env::args().any(|arg| arg == "--markdown");
    let only = std::env::args().skip_while(|arg| arg != "--only").nth(1);
    let mut rows = Vec::new();
    for (name, bench) in [
        (
            "claims, uncontended",
            claim::run as fn() -> Result<Vec<table::Row>>,
        ),
        ("claims, 64 tasks on 8 machines", contended::run),
        ("ten thousand machines", large_ones),
        ("ten thousand machines on EC2", cloud::run),
        ("builds on EC2, warm and cold", boots::run),
        ("calls of a delegate", load::run),
        ("SQLite", || on_disk(&Store::sqlite()?)),
        ("PostgreSQL", || on_disk(&Store::postgres())),
        ("steps on a real agent", step::run),
    ] {
        if only.as_ref().is_some_and(|only| !name.contains(&**only)) {
            continue;
        }
        eprintln!("measuring {name} …");
        rows.extend(bench()?);
    }
    rows.extend(machine::agent_size());
    if let Some(file) = std::env::var_os("VMPOOL_PLOT") {
        eprintln!("measuring claims by tasks and machines …");
        plot::draw(std::path::Path::new(&file))?;
    }
    if markdown {
        table::print_markdown(&rows, &machine::describe());
    } else {
        table::print_plain(&rows, &machine::describe());
    }
    Ok(())
}
