//! Which boot of the machine this is.

use std::fs;
use std::io;

use vmpool_core::agent::BootId;

/// Where the kernel says it.
pub(crate) const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The present boot. Another one than before means that no process of before
/// is there any more, whoever has its pid.
pub(crate) fn id() -> io::Result<BootId> {
    let id = fs::read_to_string(PATH)?;
    Ok(BootId(id.trim().to_owned()))
}
