//! What agent and holder say to each other before a step begins: one frame
//! each way, then one byte.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpool_core::{Limits, StepId};

use crate::log::LogSpace;
use crate::mask::Style;
use crate::process::ProcessId;

/// The agent has recorded the step: it may be executed.
pub(crate) const GO: u8 = b'!';

/// The agent has given the step up: whatever the records say, it is not executed.
pub(crate) const NO: u8 = b'x';

/// A frame longer than this is no order of ours.
const FRAME_MAX: u32 = 64 * 1024 * 1024;

/// All that a holder has to know. Carries secrets; so it has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: StepId,
    /// The step's name in files.
    pub(crate) name: String,
    /// The host's directory.
    pub(crate) host: PathBuf,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The whole environment of the step.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) workdir: PathBuf,
    pub(crate) user: Option<String>,
    /// Values that the log must not show.
    pub(crate) secrets: Vec<String>,
    /// What stands for them.
    pub(crate) mask: Style,
    /// What else the log must not show, an expression a line.
    pub(crate) expressions: String,
    /// Where the step returns secrets: the log shows none of them from then on.
    pub(crate) secrets_file: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limits: Limits,
    /// From the request to end to the use of force.
    pub(crate) grace: Duration,
    /// The log begins with it.
    pub(crate) preamble: String,
    /// What the step leaves running belongs to it, and the step lasts as long.
    pub(crate) detached: bool,
    pub(crate) log_space: LogSpace,
}

/// The holder's answer: it is this process and its step stands at the gate, or
/// why it can't be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready(pub(crate) Result<ProcessId, String>);

/// A message behind its length.
pub(crate) fn to_frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)
        .ok()
        .filter(|length| *length <= FRAME_MAX);
    let length = length.ok_or_else(|| io::Error::other("the step is larger than 64 MiB"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// How many bytes follow the first four of a frame.
pub(crate) fn read_frame_len(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head);
    if length > FRAME_MAX {
        return Err(io::Error::other("a message of more than 64 MiB"));
    }
    usize::try_from(length).map_err(io::Error::other)
}
