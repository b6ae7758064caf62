//! Tries an agent that was built: it says its version, and serves.
//! A program for other machines is run by an emulator.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::parts::{self, command, target};
use crate::programs::Kind;
use crate::setup;

/// Fails where the program is not what may be shipped.
pub(super) fn try_out(program: &Path, kind: Kind) -> Result<()> {
    println!("── {}", program.display());
    let foreign = !kind.is_native();
    if foreign {
        setup::install_missing(&[(kind.emulator, "qemu-user-static")])?;
    }
    let start = |args: &[&str]| {
        if !foreign {
            return command(&program.to_string_lossy(), args);
        }
        let mut emulated = command(kind.emulator, &[]);
        emulated.arg(program).args(args);
        emulated
    };
    print!("{}", parts::said(&mut start(&["--version"]))?);

    let folder = target().join("tmp").join(format!("trial-{}", kind.name));
    // An earlier trial's state is another agent's.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let settings = folder.join("settings.env");
    let text = |bind: &str| {
        let certs = folder.display();
        format!(
            "HTTPS_BIND={bind}\nHARNESS_WORKDIR={certs}\n\
             SERVER_CERT_FILE={certs}/server-cert.pem\nSERVER_KEY_FILE={certs}/server-key.pem\n\
             SERVER_CLIENT_CERT_FILE={certs}/ca-cert.pem\nCLIENT_CERT_FILE={certs}/server-cert.pem\n\
             CLIENT_KEY_FILE={certs}/server-key.pem\nCA_CERT_FILE={certs}/ca-cert.pem\n\
             HARNESS_WI_MINT_URL_OVERRIDE=unix://{certs}/wi.sock\n"
        )
    };
    fs::write(&settings, text("127.0.0.1:0"))?;
    parts::run(start(&["certs", "--certPath"]).arg(&folder))?;
    let mut server = start(&["server", "--env-file"]);
    server
        .arg(&settings)
        .arg("--state")
        .arg(folder.join("state"));
    let mut server = Running::start(&mut server)?;
    let address = server.address()?;
    fs::write(&settings, text(&address))?;
    let mut client = start(&["client", "--env-file"]);
    client.arg(&settings);
    if !foreign {
        // A step's program is started by the agent itself, where its own is of this machine.
        client.arg("--stage");
    }
    parts::run(&mut client)
}

/// An agent that serves; killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self(child))
    }

    /// Where it listens, by what it tells.
    fn address(&mut self) -> Result<String> {
        let told = self.0.stderr.take().context("its errors were asked for")?;
        for line in BufReader::new(told).lines() {
            let line = line.context("read what the agent tells")?;
            println!("{line}");
            if let Some((_, rest)) = line.split_once("address=") {
                let address = rest.split_whitespace().next().unwrap_or_default();
                return Ok(address.to_owned());
            }
        }
        bail!("the agent ended before it listened: {}", self.0.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
