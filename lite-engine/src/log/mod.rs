//! A step's log: masked bytes in files of one fixed size, kept on the machine
//! until the runner has taken them.
//!
//! An offset is a position in the masked bytes, from 0 at the step's start. The
//! bytes lie in segments named by the offset of their first byte (`build.0`,
//! `build.4194304`, …), so a reader finds any offset without an index and what
//! has been taken is given back by removing files.
//!
//! ```text
//! holder: LogWriter ──append──► build.0  build.4194304  …  ──read at any offset──► LogReader (any number)
//!                                  ▲
//!                     StepLog::release removes the full ones below the acknowledged offset
//! ```
//!
//! Invariants:
//! - Only the holder appends, and never changes what it has written.
//! - The logs of a stage share a limit. A step for whose next segment there is
//!   no space left gets none, so its pipe fills and it waits; no byte is
//!   dropped. A step all of whose bytes were released always gets one: it can't
//!   be starved by others.
//! - While a step runs, its newest segment exists, once it has printed anything.
//!   It tells where the log ends.

mod reader;
mod segments;
mod writer;

pub use reader::{LogChunk, LogError, LogReader};
pub(crate) use reader::{Progress, StepLog};
pub use segments::LogSpace;
pub(crate) use segments::beginnings;
pub(crate) use writer::LogWriter;

#[cfg(test)]
mod tests;
