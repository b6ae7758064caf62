//! Runner and agent against each other, over real sockets on 127.0.0.1: who
//! may join, who may speak, and what happens when a connection breaks.
//!
//! The agent's end is `lite-engine`'s own listener, identity and enrolment;
//! only what runs steps is a stub.

mod certificates;
mod connection;
mod enrolment;
mod executor;
mod incumbent;
mod machine;
mod network;
mod peers;
mod renewal;
mod stub;
mod theirs;
mod trust_file;
