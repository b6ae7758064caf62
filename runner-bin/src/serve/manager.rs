//! What is told to the service manager that started this process, if one did
//! and wants to know: that the runner serves, and which process it is after an
//! upgrade. systemd's `sd_notify(3)`: a datagram of variables to the socket that
//! `NOTIFY_SOCKET` names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The runner serves.
pub(super) fn serves() {
    tell("READY=1");
}

/// The runner goes on as this process, a child of the present one. Told before
/// the present one ends, so that the service does not end with it.
pub(super) fn goes_on_as(pid: u32) {
    tell(&format!("MAINPID={pid}"));
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
