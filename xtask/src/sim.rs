//! `cargo xtask sim`: many histories of the simulation, as fast as they go.

use std::num::NonZeroUsize;
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
    /// On so many threads; as many as there are cores, if not given.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
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
    if let Some(threads) = sim.threads {
        command.env("VMPOOL_SIM_THREADS", threads.to_string());
    }
    parts::run(&mut command)?;
    let took = begun.elapsed();
    let rate = f64::from(u32::try_from(sim.seeds)?) / took.as_secs_f64();
    let a_minute = rate * 60.0;
    println!("{} seeds in {took:.1?}: {a_minute:.0} a minute", sim.seeds);
    Ok(())
}
