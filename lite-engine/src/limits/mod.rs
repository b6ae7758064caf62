//! Holds a step to its limits of memory and processes, by groups of the kernel
//! (cgroups).
//!
//! What it is not: the way to end a step. The holder ends a step's processes
//! as it does without any group; where there is one it ends all at once.
//!
//! ```text
//! <where this process is, or beside it>/vmpool-<host>-<step>     one step's group
//! <host's directory>/groups                                      those that were made, a path a line
//! ```
//!
//! Invariants:
//! - Only groups that this made are written to or removed. The others are read.
//! - A group is written down before it is made, and removed when nothing of its
//!   step is left: by its holder, or where that was killed, by whoever cleans up.
//! - A limit that can't be applied fails no step: its log says so.
//! - A step without limits has no group, and costs nothing.

mod group;
mod left;
mod places;

pub(crate) use group::Group;
pub(crate) use left::{Left, remove_all};

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

/// The file in the host's directory that names the groups of its steps.
const GROUPS: &str = "groups";

/// What the name of a group begins with, and no group of anybody else.
const PREFIX: &str = "vmpool-";

/// The group of this step, whose name in files is `step`.
fn name(host: &Path, step: &str) -> String {
    let host = digest(&SHA256, host.as_os_str().as_encoded_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&host.as_ref()[..8]);
    format!("{PREFIX}{:016x}-{step}", u64::from_be_bytes(first))
}
