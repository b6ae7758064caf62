//! What is told to the service manager that started this process, if one did
//! and wants to know: that the runner serves, reads its pool file anew or stops,
//! how it stands, that it is alive, and which process it is after an upgrade.
//! systemd's `sd_notify(3)`: a datagram of variables to the socket that
//! `NOTIFY_SOCKET` names.
//!
//! Where the manager watches (`WATCHDOG_USEC`), it is told twice in that time
//! that the runner is alive, but only while it is: tasks are run, and the journal
//! answers. An answer that the journal's database is away is one: another start
//! would not bring it back, and steps go on without.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval, timeout};
use vmpool_core::Clock;
use vmpool_core::runner::{PoolOwner, Runner};

use super::site::Site;

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How long it waits for a word before it starts the runner anew, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC";

/// How often it is told how the runner stands, where it does not watch.
const USUALLY: Duration = Duration::from_secs(30);

/// The runner serves.
pub(super) fn serves() {
    tell("READY=1\nSTATUS=serves");
}

/// The runner reads its pool file anew, until it [serves] again.
pub(super) fn reloads() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The runner stops; builds go on.
pub(super) fn stops() {
    tell("STOPPING=1\nSTATUS=stopping; builds go on");
}

/// The runner goes on as this process, a child of the present one. Told before
/// the present one ends, so that the service does not end with it.
pub(super) fn goes_on_as(pid: u32) {
    tell(&format!("READY=1\nMAINPID={pid}"));
}

/// Tells how the runner stands and that it is alive, for ever.
///
/// # Cancel safety
/// Safe.
pub(super) async fn reassure(site: &Site) {
    if env::var_os(SOCKET).is_none() {
        return std::future::pending().await;
    }
    let watched = env::var(WATCHDOG).ok().and_then(|text| text.parse().ok());
    let watched: Option<Duration> = watched.map(Duration::from_micros);
    let every = watched.map_or(USUALLY, |within| within / 2);
    let mut every = interval(every.max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let period = every.period();
        every.tick().await;
        let runner = site.desk.runner();
        let status = runner
            .as_ref()
            .map_or_else(|| "between two shifts".to_owned(), status);
        let is_alive = match runner {
            // It takes over, or is taken over from.
            None => true,
            Some(runner) => timeout(period, answers(runner)).await.is_ok(),
        };
        match (is_alive, watched) {
            (true, Some(_)) => tell(&format!("WATCHDOG=1\nSTATUS={status}")),
            (true, None) => tell(&format!("STATUS={status}")),
            (false, _) => {
                tracing::error!(
                    "the journal does not answer: the service manager is not told to wait"
                );
            }
        }
    }
}

/// Waits until the journal answers, whatever it says.
async fn answers(runner: Runner) {
    let _ = runner.journal().pools(Clock::system().now()).await;
}

fn status(runner: &Runner) -> String {
    let (mut ours, mut machines, mut stages, mut waiting) = (0, 0, 0, 0);
    for pool in runner.status() {
        ours += u32::from(pool.owner == PoolOwner::Ours);
        if let Some(status) = pool.status {
            machines += status.machines.len();
            stages += status.claimed;
            waiting += status.waiting;
        }
    }
    format!("{ours} pools, {machines} machines, {stages} stages run, {waiting} requests wait")
}

fn tell(what: &str) {
    let Some(socket) = env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, what) {
        tracing::warn!(%error, what, "the service manager was not told");
    }
}

fn send(socket: &OsStr, what: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsString::from(socket))?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up an upgrade.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(what.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_by_a_file_and_by_an_abstract_name() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("notify");
        let name = format!("vmpool-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        for (manager, socket) in [
            (UnixDatagram::bind(&file), file.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name),
                format!("@{name}").into(),
            ),
        ] {
            let manager = manager.expect("a socket");
            send(&socket, "MAINPID=7").expect("sent");
            let mut told = [0; 64];
            let length = manager.recv(&mut told).expect("told");
            assert_eq!(&told[..length], b"MAINPID=7");
        }
        assert!(send(OsStr::new("/no/such/socket"), "READY=1").is_err());
    }
}
