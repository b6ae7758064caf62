//! `cargo xtask chaos`: rounds of real kills, many of them or one again.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::parts::{self, cargo_command};

/// Which rounds.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// How many.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// The seed of the first of them; the next ones follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the runners keep their journal.
    #[arg(long, value_enum, default_value_t = Journal::Sqlite)]
    journal: Journal,
    /// Which processes of machines are killed, beside runners and databases.
    #[arg(long, value_enum, default_value_t = Aim::Everything)]
    aim: Aim,
    /// How many at the same time.
    #[arg(long, default_value_t = 4)]
    lanes: u64,
    /// Instead of rounds: so many builds, a hundred at once, on one runner that
    /// is killed every few seconds.
    #[arg(long, value_name = "BUILDS", conflicts_with_all = ["rounds", "journal", "aim", "lanes"])]
    crowd: Option<u64>,
    /// Keep the directories of all rounds, not only of those that go wrong.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Journal {
    /// A file, and one runner.
    Sqlite,
    /// PostgreSQL, and two runners.
    Postgres,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Aim {
    /// Agents, supervisors and holders, now and then.
    Everything,
    /// Agents alone, often: every build must end well.
    Agents,
    /// Holders alone, often: steps are lost, and nothing but steps.
    Holders,
}

/// Plays them; fails where one breaks a promise.
pub(crate) fn run(chaos: &Chaos) -> Result<()> {
    let tests = match (chaos.crowd, chaos.journal) {
        (Some(_), _) => "a_crowd",
        (None, Journal::Sqlite) => "on_sqlite",
        (None, Journal::Postgres) => "on_postgres",
    };
    let aim = match chaos.aim {
        Aim::Everything => "everything",
        Aim::Agents => "agents",
        Aim::Holders => "holders",
    };
    let mut args = vec!["test", "--locked", "--workspace", "--test", "chaos"];
    args.extend([tests, "--", "--nocapture"]);
    let mut command = cargo_command(&args);
    command
        .env("VMPOOL_CHAOS_ROUNDS", chaos.rounds.to_string())
        .env("VMPOOL_CHAOS_SEED", chaos.seed.to_string())
        .env("VMPOOL_CHAOS_AIM", aim)
        .env("VMPOOL_CHAOS_LANES", chaos.lanes.to_string())
        .env("VMPOOL_CHAOS_KEEP", chaos.keep.to_string());
    if let Some(builds) = chaos.crowd {
        command.env("VMPOOL_CHAOS_CROWD", builds.to_string());
    }
    parts::run(&mut command)
}
