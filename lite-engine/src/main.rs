//! The agent as a program of its own.

mod cli;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The agent of vmpool: runs the steps of one stage on its machine.
///
/// It speaks two protocols: vmpool's own, on a machine that a runner of vmpool
/// ordered (`--request`), and the incumbent's alone, under its scheme of
/// certificates (`--env-file`).
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

const EXAMPLES: &str = "\
Examples:
  lite-engine server --request /run/vmpool/request --machine i-0123456789
  lite-engine certs --certPath /tmp/certs
  lite-engine server --env-file /etc/lite-engine.env
  lite-engine client --env-file /etc/lite-engine.env --stage";

#[derive(Subcommand)]
enum Task {
    Server(cli::Server),
    Certs(cli::Certs),
    Client(cli::Client),
}

fn main() -> ExitCode {
    lite_engine::holder::run_holder_if_asked();
    lite_engine::supervisor::run_if_asked(lite_engine::run);
    let done = match Cli::parse().command {
        Task::Server(server) => server.run(),
        Task::Certs(certs) => certs.run(),
        Task::Client(client) => client.run(),
    };
    done.unwrap_or_else(|error| {
        complain(error.as_ref());
        ExitCode::from(2)
    })
}

fn complain(error: &dyn Error) {
    eprint!("lite-engine: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
}
