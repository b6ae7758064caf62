//! The agent behind its gRPC service, without the port: real processes, real
//! rules, and a client in the same process.

mod fence;
mod readers;
mod reboot;
mod restart;
mod returns;
mod stage;
mod steps;
mod support;
