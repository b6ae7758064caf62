//! `lite-engine server`: the agent itself.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use lite_engine::AgentEnd;
use lite_engine::config::AgentConfig;
use lite_engine::notices::{BadEndpoint, Endpoint};
use lite_engine::supervisor::{Request, RequestError};
use vmpool_core::{IdError, MachineId, SecretBytes};

use super::{Done, compat};

/// Serves the runners of one deployment until the machine ends.
///
/// With `--request` it serves runners of vmpool, by mutual TLS that neither
/// another machine nor a step can take part in. Without, it serves the
/// incumbent's protocol alone, with the settings and certificates that the
/// incumbent's agent would use.
#[derive(Args)]
pub(crate) struct Server {
    /// What the machine was ordered with; `-` reads it from standard input.
    #[arg(
        long,
        value_name = "FILE",
        requires = "machine",
        conflicts_with = "env_file"
    )]
    request: Option<PathBuf>,

    /// The machine's id, as its provider knows it.
    #[arg(long, value_name = "ID", requires = "request")]
    machine: Option<String>,

    /// Settings for the incumbent's protocol; they count above the process's own environment.
    #[arg(long, value_name = "FILE", default_value = ".env")]
    env_file: PathBuf,

    /// The agent's own directory. Only its user may be able to enter it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lite-engine")]
    state: PathBuf,

    /// Where runners of vmpool connect.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:9079",
        requires = "request"
    )]
    listen: SocketAddr,

    /// The cloud whose metadata service tells beforehand of the machine's end:
    /// spot interruptions and recommendations to replace it are told to runners.
    #[arg(long, value_name = "CLOUD", value_enum, requires = "request")]
    metadata: Option<Cloud>,

    /// Where the machine's start-up scripts tell what they did, and what the
    /// machine must have before it is ready.
    #[arg(long, value_name = "FILE", requires = "request")]
    start_up: Option<PathBuf>,

    /// Ends the machine, once the agent has ended what ran on it.
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "poweroff",
        requires = "request"
    )]
    end_with: PathBuf,
}

/// A cloud whose metadata service is known.
#[derive(Clone, Copy, ValueEnum)]
enum Cloud {
    /// At 169.254.169.254, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
    Ec2,
}

/// Why the server did not start, or the machine does not end.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Request { path: PathBuf, source: RequestError },
    #[error("--metadata")]
    Metadata(#[from] BadEndpoint),
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

impl Server {
    pub(crate) fn run(self) -> Done {
        match (self.request, self.machine) {
            (Some(request), Some(machine)) => {
                let server = Ordered {
                    request,
                    machine,
                    state: self.state,
                    listen: self.listen,
                    metadata: self.metadata,
                    start_up: self.start_up,
                    end_with: self.end_with,
                };
                Ok(server.run()?)
            }
            _ => compat::serve(&self.env_file, self.state),
        }
    }
}

/// A machine that a runner of vmpool ordered.
struct Ordered {
    request: PathBuf,
    machine: String,
    state: PathBuf,
    listen: SocketAddr,
    metadata: Option<Cloud>,
    start_up: Option<PathBuf>,
    end_with: PathBuf,
}

impl Ordered {
    fn run(self) -> Result<ExitCode, ServerError> {
        let request = self.read_request()?;
        let machine = MachineId::parse(&self.machine).map_err(ServerError::Machine)?;
        let metadata = match self.metadata {
            Some(Cloud::Ec2) => Some(Endpoint::from_env()?),
            None => None,
        };
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
            metadata,
            start_up: self.start_up,
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
