//! `cargo xtask moto`: the calls of vmpool-aws to moto, another fake EC2, and to
//! ours. Where they differ the test knows it, and fake-ec2/README.md who is right.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::parts::{self, cargo_command, command};
use crate::setup;

/// The release that the differences were written down of.
const PACKAGES: [&str; 1] = ["moto[server]==5.2.5"];
/// It loads half of AWS first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts moto, asks both, and ends it.
pub(crate) fn run() -> Result<()> {
    let server = Server::start()?;
    let mut test = cargo_command(&["test", "--workspace", "--locked", "--test", "moto"]);
    parts::run(test.env("VMPOOL_TEST_MOTO", format!("http://{}", server.address)))
}

/// A running moto. Ended when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Result<Self> {
        let tools = setup::python_tools("moto", &PACKAGES)?;
        let program = tools.join("bin").join("moto_server");
        // It takes no port 0: one that was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
        let address = free.local_addr().context("look for a free port")?;
        drop(free);
        let port = address.port().to_string();
        let process = command(
            &program.to_string_lossy(),
            &["-H", "127.0.0.1", "-p", &port],
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
        let mut server = Self { process, address };
        let by = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.process.try_wait().context("look at moto")? {
                bail!("moto ended before it listened: {status}");
            }
            if Instant::now() > by {
                bail!("moto does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
