//! The machines that a stage had, and that could not be prepared for it.
//!
//! They are part of the stage's row, so that however many runners it passes,
//! it is tried on no more machines than it may, and its end names each.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::MachineId;

/// Machines that a stage is tried on.
///
/// One may be broken by itself, and the next one with it by chance. A third says
/// that it is the image or the setup: further ones would cost a boot each, and
/// their caller the time to hear of it.
pub const MOST_MACHINES: usize = 3;

/// A machine that could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The machine, which is given up.
    pub machine: MachineId,
    /// What it failed at.
    pub why: Arc<str>,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine {} could not be prepared: {}",
            self.machine, self.why
        )
    }
}

/// Why a stage ends that was tried on these machines, the first one first.
pub fn told(tried: &[Tried]) -> String {
    let mut told = match tried {
        [one] => return one.to_string(),
        several => format!("none of {} machines could be prepared", several.len()),
    };
    for (place, one) in tried.iter().enumerate() {
        let before = if place == 0 { ": " } else { "; " };
        told.push_str(before);
        told.push_str(one.machine.as_str());
        told.push_str(": ");
        told.push_str(&one.why);
    }
    told
}
