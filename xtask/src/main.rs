//! The project's own chores. `cargo xtask help` lists them.

mod agent;
mod boot;
mod chaos;
mod compose;
mod dist;
mod figures;
mod fuzz;
mod moto;
mod namespace;
mod parts;
mod programs;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the vmpool workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what tests need, then check and test everything.
    Test,
    /// Install what tests need.
    Setup,
    /// Build the agent as it is shipped: static, stripped, small. Tries each and prints its size.
    Agent(agent::Agent),
    /// Boot machines from their kernel on, in an emulator, and run a stage on one.
    Boot,
    /// Build the container image, and run the Compose file with it.
    Compose,
    /// Make what is given to users: archives, their bill of materials and checksums. Tries them.
    Dist(dist::Dist),
    /// Measure, and write the table of docs/benchmarks.md.
    Figures,
    /// Play rounds of real kills, many of them or one again.
    Chaos(chaos::Chaos),
    /// Feed the agent's readers with inputs that look for faults, for a bounded time.
    Fuzz(fuzz::Fuzz),
    /// Ask moto, another fake EC2, and ours the same: they differ where it is known.
    Moto,
    /// Play histories of the simulation, many of them or one again.
    Sim(sim::Sim),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test => test::run(),
        Chore::Setup => setup::run(),
        Chore::Agent(agent) => agent::run(agent),
        Chore::Boot => boot::run(),
        Chore::Compose => compose::run(),
        Chore::Dist(dist) => dist::run(dist),
        Chore::Figures => figures::run(),
        Chore::Chaos(chaos) => chaos::run(&chaos),
        Chore::Fuzz(fuzz) => fuzz::run(&fuzz),
        Chore::Moto => moto::run(),
        Chore::Sim(sim) => sim::run(&sim),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
