//! The holder: a small process beside each step that outlives the agent.
//!
//! It owns the step's pipe and its processes, writes the masked log and, at the
//! end, the step's outcome. It is synchronous and has a single thread. What it
//! tells, it tells by files of the host's directory, so an agent that was
//! restarted learns the same as the one that started it.
//!
//! ```text
//! agent ──spawn──► nursery           (same binary, hidden first argument; one a stage)
//!       ──socket─► nursery ──fork──► holder
//!       ──order────────────────────► holder    no argv, no environment, no file
//!       ◄─ready─────────────────────           the step's process stands at the gate
//!   records the step
//!       ──go───────────────────────► opens the gate ──► exec
//!                                    socket closed; from here on:
//!       ◄──── wake (FIFO, a byte: look), logs, records
//!       ──SIGTERM (cancel), SIGALRM (it is over its time), SIGQUIT (end without grace),
//!         SIGUSR1 (log space came free)──►
//! ```
//!
//! Invariants:
//! - A step that was not recorded is never executed. One that was is executed,
//!   also where the agent ended before it could say `go`: the next one finds it
//!   in the records, and it runs.
//! - The end of the agent changes nothing for a step that was let go.
//! - The step's end is the last thing written, it is written whatever happens,
//!   and then no process of the step is left (P10). It holds even for those that
//!   left the process group or the session: the holder is their sub-reaper.
//! - Only the death of the holder itself leaves a step without an end. Its agent
//!   then ends what is left and records that the step is lost.

mod child;
mod course;
mod descendants;
mod hold;
mod messages;
mod nursery;
mod returned;
mod run;

pub(crate) use messages::{GO, NO, Order, Ready, read_frame_len, to_frame};
pub use nursery::run_holder_if_asked;
pub(crate) use nursery::{ARGUMENT, close_inherited};

/// Where, in the host's directory, the logs of all steps are.
pub(crate) const LOGS: &str = "logs";

/// The host's [records](crate::records) in its directory.
pub(crate) const RECORDS: &str = "records";

/// The FIFO in the host's directory by which a holder says: look.
pub(crate) const WAKE: &str = "wake";
