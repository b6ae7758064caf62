//! The figures of docs/benchmarks.md: each beside its baseline, measured in the
//! same run on the same machine.
//!
//! `cargo xtask figures` runs this in release mode and writes the table.

mod claim;
mod contended;
mod machine;
mod memory;
mod plot;
mod spread;
mod step;
mod table;

use std::process::ExitCode;

use anyhow::Result;

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

fn measure() -> Result<()> {
    let markdown = std::env::args().any(|arg| arg == "--markdown");
    let mut rows = Vec::new();
    for (name, bench) in [
        (
            "claims, uncontended",
            claim::run as fn() -> Result<Vec<table::Row>>,
        ),
        ("claims, 64 tasks on 8 machines", contended::run),
        ("steps on a real agent", step::run),
    ] {
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
