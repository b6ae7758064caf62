//! The incumbent's logs: lines of JSON, live to its log service or into a file.
//!
//! ```text
//! LogReader ──assemble──► Line ──┬─ live: POST stream, PUT lines …, DELETE stream
//! (masked bytes on disk)         ├─ history (newest 5 MiB) ──► blob at the end
//!                                └─ file: NDJSON
//! ```
//!
//! An [`Uploader`] reads the log that a step's holder writes to disk, as fast as
//! the service takes it. So a slow or dead service delays no step, fills no
//! memory, and loses nothing that the service comes back for within its
//! retries. Nobody has to wait for an uploader to answer for a step.
//!
//! Invariants:
//! - Memory is bounded: the history, one batch, one chunk and one line.
//! - What the service refuses, or does not take within the retries, ends only
//!   that part: without a live stream the blob still has all it can hold.
//! - Lines have the same numbers whenever the log is read from its beginning,
//!   so an agent that was restarted goes on after the last line it had sent.

mod assemble;
mod client;
mod encode;
mod file;
mod history;
mod uploader;

pub use assemble::{Assembler, LINE_MAX, Line};
pub use client::{Client, ClientConfig, ClientError, Pace};
pub use file::{FileStore, KeyError};
pub use history::{BLOB_MAX, History};
pub use uploader::{Settings, Uploaded, Uploader};

#[cfg(test)]
mod tests;
