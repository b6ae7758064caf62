//! The agent as a program of its own.

use std::error::Error;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use lite_engine::AgentEnd;
use lite_engine::config::AgentConfig;
use lite_engine::supervisor::{Request, RequestError};
use vmpool_core::{IdError, MachineId, SecretBytes};

/// The agent of vmpool: runs the steps of one stage on its machine.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Serves the runners of one deployment until the machine ends.
    Server(Server),
}

#[derive(Args)]
struct Server {
    /// What the machine was ordered with; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,

    /// The machine's id, as its provider knows it.
    #[arg(long, value_name = "ID")]
    machine: String,

    /// The agent's own directory. Only its user may be able to enter it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lite-engine")]
    state: PathBuf,

    /// Where runners connect.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9079")]
    listen: SocketAddr,

    /// Ends the machine, once the agent has ended what ran on it.
    #[arg(long, value_name = "PROGRAM", default_value = "poweroff")]
    end_with: PathBuf,
}

/// Why the server did not start, or the machine does not end.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Request { path: PathBuf, source: RequestError },
    #[error("--machine")]
    Machine(#[source] IdError),
    #[error("listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("run {}", program.display())]
    End { program: PathBuf, source: io::Error },
}

fn main() -> ExitCode {
    lite_engine::holder::run_holder_if_asked();
    lite_engine::supervisor::run_if_asked(lite_engine::run);
    let Task::Server(server) = Cli::parse().command;
    match server.run() {
        Ok(code) => code,
        Err(error) => {
            eprint!("lite-engine: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

impl Server {
    fn run(self) -> Result<ExitCode, ServerError> {
        let request = self.read_request()?;
        let machine = MachineId::parse(&self.machine).map_err(ServerError::Machine)?;
        let listener = TcpListener::bind(self.listen).map_err(|source| ServerError::Listen {
            address: self.listen,
            source,
        })?;
        let bootstrap = request.bootstrap;
        let config = AgentConfig {
            machine,
            bootstrap,
            state_dir: self.state,
            listener,
        };
        match lite_engine::run_to_end(config) {
            Ok(AgentEnd::Stopped) => Ok(ExitCode::SUCCESS),
            Ok(AgentEnd::Machine(_)) => {
                let ended = Command::new(&self.end_with).status();
                let ended = ended.map_err(|source| {
                    let program = self.end_with.clone();
                    ServerError::End { program, source }
                })?;
                Ok(if ended.success() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                })
            }
            // It has told on standard error.
            Err(_) => Ok(ExitCode::FAILURE),
        }
    }

    fn read_request(&self) -> Result<Request, ServerError> {
        let path = &self.request;
        let read = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            std::fs::read(path)
        };
        let bytes = read.map_err(|source| ServerError::Unreadable {
            path: path.clone(),
            source,
        })?;
        Request::from_bytes(&SecretBytes::new(bytes)).map_err(|source| ServerError::Request {
            path: path.clone(),
            source,
        })
    }
}
