//! Upgrade in place: the program at this one's path is started anew, and takes
//! over without a request refused or lost (P4).
//!
//! ```text
//! old                                        new
//! starts it, a socket as its standard input  reads files and options
//! sends the listening sockets                has them, says READY
//! stops accepting, hands its runner over,
//! gives up the lock, says GO                 takes the lock, starts its runner,
//!                                            accepts, says SERVING
//! relays what is in flight, and what comes   answers over the same socket,
//! over open connections, until all end       by vmpool.peer.v1
//! ```
//! Until GO the old process does as before, and goes on if the new one fails;
//! after it, it takes its place back if the new one never serves.

mod predecessor;
mod sockets;
mod successor;

pub(super) use predecessor::Predecessor;
pub(super) use successor::{Next, Serving};

/// What the two processes say to each other, a byte each.
const READY: u8 = b'R';
const GO: u8 = b'G';
const SERVING: u8 = b'S';
