//! The program's commands: what they are told, and what they end with.

mod certs;
mod client;
mod compat;
mod server;

use std::error::Error;
use std::process::ExitCode;

pub(crate) use certs::Certs;
pub(crate) use client::Client;
pub(crate) use server::Server;

/// How a command ended, or what kept it from being carried out.
pub(crate) type Done = Result<ExitCode, Box<dyn Error>>;
