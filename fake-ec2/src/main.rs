//! `fake-ec2`: the fake cloud as a program.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use fake_ec2::{
    AgentGuest, Catalog, Clock, Config, FakeEc2, Hollow, Machines, Processes, Span, Timing,
};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// An EC2 to try things against: its API, its semantics, its faults, and no
/// bill. Its machines are records only, unless they are told to be processes.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Where to listen; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Where ids, times and faults come from.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    seed: u64,

    /// How long things take.
    #[arg(long, value_enum, default_value_t = Pace::Real)]
    timing: Pace,

    /// From a launch until `running`, in milliseconds, whatever the timing.
    #[arg(long, value_name = "MS")]
    boot_ms: Option<u64>,

    /// Throttle by AWS's token buckets.
    #[arg(long)]
    throttle: bool,

    /// Run instances as this agent (`lite-engine`), as processes of this host, on
    /// the addresses that the API tells and by the instances' user data.
    #[arg(long, value_name = "PROGRAM", requires = "disks")]
    agent: Option<PathBuf>,

    /// Where the disks of such instances are.
    #[arg(long, value_name = "DIR", requires = "agent")]
    disks: Option<PathBuf>,

    /// The port that such an agent listens on.
    #[arg(long, value_name = "PORT", default_value_t = 9079)]
    agent_port: u16,

    /// The first byte of the instances' addresses: with another than this, they can be
    /// reached from other hosts, where this host has such addresses.
    #[arg(long, value_name = "BYTE", default_value_t = 127)]
    network: u8,

    /// Write the address into this file, too, once it is listened on.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pace {
    /// At once.
    Instant,
    /// As long as on EC2: boots of 4 to 15 s, reads up to 3 s behind.
    Real,
}

/// A program is started in its instance's disk: a path to it must hold there,
/// too. A bare name is looked for in PATH.
fn program(named: PathBuf) -> std::io::Result<PathBuf> {
    if named.components().count() == 1 {
        return Ok(named);
    }
    std::path::absolute(named)
}

const EXAMPLES: &str = "\
Examples:
  fake-ec2 --listen 127.0.0.1:4566
  export AWS_ENDPOINT_URL_EC2=http://127.0.0.1:4566 AWS_REGION=us-east-1
  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
  aws ec2 describe-images --owners 099720109477 --query 'Images[].Name'

An access key of twelve digits is the root of that account.

Its own door:
  curl 127.0.0.1:4566/_fake/state
  curl 127.0.0.1:4566/_fake/counts
  curl 127.0.0.1:4566/_fake/faults --json \\
    '{\"rule\": {\"action\": \"RunInstances\", \"times\": 1, \"fault\": {\"kind\": \"lose_answer\"}}}'
  curl -X PUT 127.0.0.1:4566/_fake/limits --json \\
    '{\"capacity\": [{\"zone\": \"us-east-1a\", \"most\": 0}]}'
  curl 127.0.0.1:4566/_fake/reclaim --json '{\"instances\": [\"i-0…\"], \"notice_ms\": 120000}'
  curl 127.0.0.1:4566/_fake/clock --json '{\"advance_ms\": 60000}'
";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::WARN.into())
                .from_env_lossy(),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut timing = match args.timing {
        Pace::Instant => Timing::instant(),
        Pace::Real => Timing::real(),
    };
    if let Some(ms) = args.boot_ms {
        timing.pending = Span::exactly(Duration::from_millis(ms));
    }
    let mut catalog = Catalog::default();
    for place in &mut catalog.regions {
        place.host = args.network;
    }
    let config = Config {
        catalog,
        seed: args.seed,
        timing,
        throttling: args.throttle,
        ..Config::default()
    };
    let machines: Arc<dyn Machines> = match (args.agent, args.disks) {
        (Some(agent), Some(disks)) => {
            let agent = program(agent).context("name the agent's program")?;
            let port = args.agent_port;
            Arc::new(Processes::new(disks, Arc::new(AgentGuest { agent, port })))
        }
        _ => Arc::new(Hollow),
    };
    let fake = FakeEc2::start(config, Clock::host(), machines, args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    writeln!(std::io::stdout(), "{}", fake.url()).context("print the address")?;
    if let Some(file) = &args.address_file {
        std::fs::write(file, fake.url())
            .with_context(|| format!("write the address to {}", file.display()))?;
    }
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted.context("wait for an interrupt")?,
        _ = terminated.recv() => {}
    }
    // Its instances' processes end with it.
    fake.stop().await;
    Ok(())
}
