//! `vmpool`, the runner: fresh, warm machines for CI stages.
//!
//! This crate wires the parts together and talks to people; what it wires is
//! in the libraries. It is also the agent of local machines: the same program,
//! started again.

mod cli;
mod client;
mod clone;
mod delegate;
mod doctor;
mod exec;
mod exit;
mod explain;
mod exposed;
mod hex;
mod hold;
mod interrupt;
mod journal;
mod logs;
mod messages;
mod out;
mod outgoing;
mod pipeline_file;
mod pool;
mod screen;
mod serve;
mod stage;
mod sweep;
mod told;
mod userdata;
mod validate;

use std::io;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, ExecArgs};
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;

fn main() -> Exit {
    vmpool_local::run_agent_if_asked();
    let cli = Cli::parse();
    exposed::warn();
    run(cli).unwrap_or_else(|stopped| {
        stopped.print();
        stopped.exit
    })
}

fn run(cli: Cli) -> Result<Exit, Stopped> {
    match cli.command {
        None => {
            say(cli::first_screen())?;
            Ok(Exit::Success)
        }
        Some(Command::Exec(args)) => exec(*args),
        Some(Command::Serve(args)) => serve::serve(*args),
        Some(Command::Delegate(args)) => delegate::delegate(&args),
        Some(Command::Validate(args)) => validate::validate(&args),
        Some(Command::Pool { command }) => on_runtime(pool::pool(&command)),
        Some(Command::Stage { command }) => on_runtime(stage::stage(&command)),
        Some(Command::Logs(args)) => on_runtime(logs::logs(&args)),
        Some(Command::Hold(args)) => on_runtime(hold::hold(&args)),
        Some(Command::Explain(args)) => on_runtime(explain::explain(&args)),
        Some(Command::PoolSchema { reference }) => {
            say(if reference {
                vmpool_pipeline::pool_file_reference()
            } else {
                vmpool_pipeline::pool_file_schema()
            })?;
            Ok(Exit::Success)
        }
        Some(Command::Doctor(args)) => on_runtime(doctor::doctor(&args)),
        Some(Command::Journal { command }) => on_runtime(journal::journal(&command)),
        Some(Command::Sweep(args)) => on_runtime(sweep::sweep(&args)),
        Some(Command::Userdata(args)) => userdata::userdata(&args),
        Some(Command::Completions { shell }) => {
            say(completions(shell))?;
            Ok(Exit::Success)
        }
        Some(Command::ManPages { folder }) => {
            clap_mangen::generate_to(Cli::command(), &folder)
                .with_context(|| format!("write manual pages to {}", folder.display()))
                .or_exit(Exit::BadInput)?;
            Ok(Exit::Success)
        }
        Some(Command::CloneWorkspace(args)) => clone::run(&args),
    }
}

fn exec(args: ExecArgs) -> Result<Exit, Stopped> {
    on_runtime(exec::exec(args))
}

/// Runs a command that does more than read files.
fn on_runtime(command: impl Future<Output = Result<Exit, Stopped>>) -> Result<Exit, Stopped> {
    log();
    // Fails only where it was done before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = Runtime::new()
        .context("start the runtime")
        .or_exit(Exit::Failed)?;
    let exit = runtime.block_on(command);
    // Calls to the provider may block; nobody waits for them any more.
    runtime.shutdown_background();
    exit
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vmpool", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What the libraries log goes to standard error, if `VMPOOL_LOG` asks for it
/// (`debug`, `vmpool_core=trace`, …).
fn log() {
    let filter = EnvFilter::try_from_env("VMPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
}
