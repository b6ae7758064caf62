//! The options of `vmpool serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::access::AccessArgs;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool serve --pool pool.yml --state /var/lib/vmpool
  vmpool serve --pool pool.yml --state ~/.vmpool --listen 127.0.0.1:0
  vmpool serve --pool pool.yml --state /var/lib/vmpool --trust /etc/vmpool/trust \\
      --logs /mnt/logs --journal postgres://vmpool@db/vmpool \\
      --peer-listen 0.0.0.0:3002 --peer-url https://runner-1:3002
  vmpool serve --pool pool.yml --state /var/lib/vmpool --listen 0.0.0.0:3000 \\
      --tls-cert cert.pem --tls-key key.pem --tokens callers.yml

Signals: SIGTERM and SIGINT stop the runner and no build: machines, stages and steps go on, and \
the next runner on the same state takes them over; a second signal stops at once. SIGHUP \
reads the pool file, the certificate and the tokens again. SIGUSR2 starts \
the program at the same path anew, which takes over all sockets and requests.

Exit codes: 0 stopped by a signal; 1 it could not go on; 2 bad input";

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// The pools to keep: a pool file as the incumbent's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: PathBuf,

    /// What the runner must not forget: its journal, its id, the logs; made if it does not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: PathBuf,

    /// A journal that several runners share, as postgres://USER@HOST/DATABASE; one with a
    /// password belongs into the environment, since others can read arguments
    /// [default: STATE/vmpool.db, for one runner]
    #[arg(
        long,
        value_name = "URL",
        env = "VMPOOL_JOURNAL",
        hide_env_values = true
    )]
    pub(crate) journal: Option<String>,

    /// Where builds are asked for, over HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// Where builds are asked for over gRPC, and where `vmpool pool`, `stage`, `explain` and others
    /// ask
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3001")]
    pub(crate) grpc_listen: SocketAddr,

    /// Where /metrics, /healthz and /readyz are served to everybody [default: on --listen]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// The deployment's name, which its machines are tagged with [default: local-UID, where all machines are on this host]
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: Option<String>,

    /// The deployment's CA and enrolment key; the same for all of its runners [default: STATE]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) trust: Option<PathBuf>,

    /// Where the logs of steps go; the same for all runners of a deployment, since a runner
    /// can't go on with a log whose beginning another has [default: STATE/logs]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) logs: Option<PathBuf>,

    /// Where the other runners of the deployment reach this one, over mutual TLS
    #[arg(
        long,
        value_name = "ADDR",
        requires = "peer_url",
        help_heading = "Several runners"
    )]
    pub(crate) peer_listen: Option<SocketAddr>,

    /// The same as they see it, like https://runner-1:3002
    #[arg(
        long,
        value_name = "URL",
        requires_all = ["peer_listen", "journal", "trust", "logs"],
        help_heading = "Several runners"
    )]
    pub(crate) peer_url: Option<String>,

    /// The agents' programs that new machines download: lite-engine-linux-amd64 and the like
    #[arg(
        long,
        value_name = "DIR",
        requires_all = ["agents_listen", "agents_url"],
        value_hint = ValueHint::DirPath,
        help_heading = "Machines elsewhere"
    )]
    pub(crate) agents: Option<PathBuf>,

    /// Where they are served, over HTTP, and nothing else
    #[arg(
        long,
        value_name = "ADDR",
        requires = "agents",
        help_heading = "Machines elsewhere"
    )]
    pub(crate) agents_listen: Option<SocketAddr>,

    /// The same as machines see it, like http://10.0.0.5:3003
    #[arg(
        long,
        value_name = "URL",
        requires = "agents",
        help_heading = "Machines elsewhere"
    )]
    pub(crate) agents_url: Option<String>,

    /// Pools that a setup which names no other ones falls back on, where its own can't serve it
    #[arg(long, value_name = "POOL,…", value_delimiter = ',')]
    pub(crate) fallback_pools: Vec<String>,

    /// Answer /setup with the keys of machines with the incumbent's agent: those of their
    /// throw-away CA, never any of the deployment's
    #[arg(long)]
    pub(crate) compat_keys: bool,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// The objective: a build shall wait no longer for its machine, like 5s. It is measured
    /// at /metrics, and nothing else depends on it
    #[arg(long, value_name = "DURATION", default_value = "5s",
        value_parser = vmpool_pipeline::parse_duration, help_heading = "Metrics")]
    pub(crate) acquire_objective: Duration,

    /// How long requests may take to end when the runner is to stop, like 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "30s",
        value_parser = vmpool_pipeline::parse_duration, help_heading = "Stopping")]
    pub(crate) grace: Duration,

    /// Log lines for programs, one JSON object a line
    #[arg(long, help_heading = "Output")]
    pub(crate) json_logs: bool,

    /// A collector of OpenTelemetry that takes traces of builds over gRPC, like
    /// http://127.0.0.1:4317; its other settings are OpenTelemetry's variables
    /// [default: OTEL_EXPORTER_OTLP_ENDPOINT, else none]
    #[arg(long, value_name = "URL", help_heading = "Output")]
    pub(crate) otlp: Option<String>,

    /// Which log lines: error, warn, info, debug or trace, also for a part alone, like
    /// info,vmpool_core=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "VMPOOL_LOG",
        default_value = "info",
        help_heading = "Output"
    )]
    pub(crate) log_level: String,

    /// Standard input is a channel to the runner that is to be replaced
    #[arg(long, hide = true)]
    pub(crate) replace: bool,
}
