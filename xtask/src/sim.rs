//! `cargo xtask sim`: many histories of the simulation, as fast as they go.

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::parts::{self, cargo_command};

/// Which histories.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// So many seeds; one alone is shown line by line.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

/// Plays them on all cores; fails where one breaks a promise.
pub(crate) fn run(sim: &Sim) -> Result<()> {
    let test = |more: &[&str]| {
        let mut args = vec!["test", "--locked", "--release", "-p", "vmpool-core"];
        args.extend(["--test", "simulation"]);
        args.extend(more);
        cargo_command(&args)
    };
    parts::run(&mut test(&["--no-run"]))?;
    let begun = Instant::now();
    let mut command = test(&["seeds", "--", "--nocapture"]);
    command
        .env("VMPOOL_SIM_SEEDS", sim.seeds.to_string())
        .env("VMPOOL_SIM_FROM", sim.from.to_string());
    parts::run(&mut command)?;
    let took = begun.elapsed();
    let rate = f64::from(u32::try_from(sim.seeds)?) / took.as_secs_f64();
    println!("{} seeds in {took:.1?}: {rate:.0} a second", sim.seeds);
    Ok(())
}
