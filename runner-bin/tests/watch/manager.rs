//! The service manager, played by the test: what the real program tells it, and
//! when it falls silent. And the unit, judged by the real one.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use vmpool_store::testkit::Cluster;

use crate::support::{Serving, Site, wait_for};

/// The manager's socket, and what was told there.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    fn of(site: &Site) -> Self {
        let socket = UnixDatagram::bind(site.path().join("notify")).expect("a socket");
        socket
            .set_nonblocking(true)
            .expect("a socket that never waits");
        let told = Vec::new();
        Self { socket, told }
    }

    /// The runner as this manager starts it.
    async fn start(&self, site: &Site, watched: Duration) -> Serving {
        site.ready(&mut self.command(site, watched)).await
    }

    fn command(&self, site: &Site, watched: Duration) -> Command {
        let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
        let socket = self.socket.local_addr().expect("its address");
        command
            .env("NOTIFY_SOCKET", socket.as_pathname().expect("its path"))
            .env("WATCHDOG_USEC", watched.as_micros().to_string());
        command
    }

    /// What was told since the last look.
    fn hear(&mut self) -> &[String] {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]);
            self.told.push(text.into_owned());
        }
        &self.told
    }

    /// Waits for a message with this line, and forgets what came before it.
    async fn wait_for(&mut self, line: &str) -> String {
        let what = format!("the manager to be told {line}");
        let at = wait_for(&what, async || {
            let mut told = self.hear().iter();
            told.position(|told| told.lines().any(|told| told.starts_with(line)))
        })
        .await;
        self.told.drain(..=at).next_back().expect("it was heard")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_is_told_that_the_runner_serves_lives_reloads_and_stops() {
    let site = Site::new(1, 2);
    let mut manager = Manager::of(&site);
    let runner = manager.start(&site, Duration::from_millis(200)).await;
    manager.wait_for("READY=1").await;
    let alive = manager.wait_for("WATCHDOG=1").await;
    assert!(alive.contains("STATUS=1 pools, "), "{alive}");
    runner.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1").await;
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1").await;
    manager.wait_for("WATCHDOG=1").await;
    runner.signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1").await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_manager_follows_an_upgrade_in_place_to_the_new_process() {
    let site = Site::new(1, 2);
    let mut manager = Manager::of(&site);
    let mut old = manager.start(&site, Duration::from_millis(200)).await;
    manager.wait_for("READY=1").await;
    let first = site.holder();
    old.signal(Signal::SIGUSR2);
    let told = manager.wait_for("MAINPID=").await;
    let second = site.holder();
    assert_ne!(first, second);
    assert!(
        told.lines().any(|line| line == format!("MAINPID={second}")),
        "{told}"
    );
    assert!(old.end().await.success());
    manager.told.clear();
    manager.wait_for("WATCHDOG=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_whose_journal_does_not_answer_is_not_called_alive() {
    let started = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::start();
        let journal = cluster.database("vmpool");
        (cluster, journal)
    });
    let (cluster, journal) = started.await.expect("PostgreSQL starts");
    let site = Site::new(1, 2);
    let mut manager = Manager::of(&site);
    let mut command = manager.command(&site, Duration::from_millis(800));
    let runner = site.ready(command.env("VMPOOL_JOURNAL", journal)).await;
    manager.wait_for("WATCHDOG=1").await;
    cluster.freeze();
    wait_for("a journal that does not answer", async || {
        let said = site.said();
        said.contains("the service manager is not told to wait")
            .then_some(())
    })
    .await;
    cluster.thaw();
    manager.hear();
    manager.told.clear();
    manager.wait_for("WATCHDOG=1").await;
    assert!(runner.stop().await.success());
}

#[test]
fn systemd_takes_the_unit() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let unit = root.path().join("vmpool.service");
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/vmpool.service");
    let text = std::fs::read_to_string(deployed).expect("the unit");
    // The program is where the package puts it; here it is where it was built.
    let text = text.replace("/usr/bin/vmpool", env!("CARGO_BIN_EXE_vmpool"));
    std::fs::write(&unit, text).expect("write the unit");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .stdin(Stdio::null())
        .output()
        .expect("run systemd-analyze");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{said}");
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("vmpool"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}
