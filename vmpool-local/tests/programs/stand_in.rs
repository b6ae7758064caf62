//! A program for the tests: an agent that does what it is told over its port,
//! without enrolment, and an embedder that launches machines and stays.
//!
//! ```text
//! stand-in embed ROOT OWNER ORDER attached|detached COUNT
//! ```
//! prints a line `ID ADDRESS` a machine and lives until its standard input closes.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio, exit};

use lite_engine::config::AgentConfig;
use lite_engine::supervisor;
use vmpool_core::Provider;
use vmpool_local::{AgentCommand, LocalProvider};

#[path = "../machines/order.rs"]
mod order;

fn main() -> Result<(), Box<dyn Error>> {
    supervisor::run_if_asked(agent);
    // The agent above is taken instead of the true one; the rest is as in any embedder.
    vmpool_local::run_agent_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, root, owner, id, mode, count] = arguments.as_slice() else {
        return Err("embed ROOT OWNER ORDER attached|detached COUNT".into());
    };
    assert_eq!(verb, "embed");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let provider = LocalProvider::with_root(AgentCommand::ThisProgram, Path::new(root))?;
    let order = order::order(&provider, owner, id, count.parse()?, mode == "attached");
    let launched = runtime.block_on(provider.launch(&order));
    for machine in &launched.machines {
        println!("{} {}", machine.id, machine.address.ok_or("no address")?);
    }
    println!();
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an agent owns what it starts from"
)]
fn agent(config: AgentConfig) -> ExitCode {
    for connection in config.listener.incoming() {
        let Ok(connection) = connection else {
            return ExitCode::FAILURE;
        };
        if let Err(error) = obey(&config, &connection) {
            eprintln!("stand-in: {error}");
        }
    }
    ExitCode::SUCCESS
}

/// Answers each line with a line.
fn obey(config: &AgentConfig, mut connection: &TcpStream) -> Result<(), Box<dyn Error>> {
    for line in BufReader::new(connection).lines() {
        let line = line?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb {
            "run" => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", rest])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                "running".to_owned()
            }
            "say" => {
                eprintln!("{rest}");
                "said".to_owned()
            }
            "exit" => exit(rest.parse()?),
            "who" => format!("{} {}", std::process::id(), config.machine),
            "secret" => String::from_utf8(config.bootstrap.secret.expose().to_vec())?,
            "disk" => config.state_dir.display().to_string(),
            "directory" => std::env::current_dir()?.display().to_string(),
            "blocked" => {
                let status = std::fs::read_to_string("/proc/self/status")?;
                status
                    .lines()
                    .find(|line| line.starts_with("SigBlk"))
                    .unwrap_or("")
                    .to_owned()
            }
            other => format!("unknown: {other}"),
        };
        writeln!(connection, "{answer}")?;
    }
    Ok(())
}
