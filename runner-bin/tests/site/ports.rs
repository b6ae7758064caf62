//! Ports that stay a test's own while nobody listens on them: between being
//! chosen and being used, and while a runner is down.
//!
//! They are below those that the system gives to whoever asks for any, and
//! come in blocks. A process of tests that has a block listens on its first
//! port until it ends, so no other process of tests takes one of them.

use std::net::TcpListener;

use parking_lot::Mutex;

/// Below the ports of outgoing connections, and below those of the databases
/// that tests start.
const PORTS: std::ops::Range<u16> = 12_000..20_000;

/// Ports of a block, the guarded one among them.
const BLOCK: u16 = 20;

/// What this process has.
static OURS: Mutex<Blocks> = Mutex::new(Blocks {
    guards: Vec::new(),
    free: 0..0,
});

struct Blocks {
    /// Held to the process's end.
    guards: Vec<TcpListener>,
    /// Of the last block, what was not given yet.
    free: std::ops::Range<u16>,
}

/// A port on which nobody listens, and that is given to nobody else.
pub(crate) fn free_port() -> u16 {
    let mut ours = OURS.lock();
    loop {
        for port in ours.free.by_ref() {
            // A program that is no test may have it.
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
        let mut firsts = PORTS.step_by(usize::from(BLOCK));
        let guarded = firsts.find_map(|first| Some((first, guard(first)?)));
        let (first, guard) = guarded.expect("not all ports of tests are taken");
        ours.guards.push(guard);
        ours.free = first + 1..first + BLOCK;
    }
}

fn guard(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}
