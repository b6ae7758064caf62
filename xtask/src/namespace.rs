//! Commands in a network namespace of their own: what they listen on, send to
//! and break is theirs alone.

use std::process::Command;

use crate::parts;
use crate::setup;

/// The command where it has a loopback of its own, and whatever else the
/// `lines` of a shell script make there.
pub(crate) fn inside(command: &Command, lines: &str) -> Command {
    let script = format!("set -e; ip link set lo up; {lines}; exec \"$@\"");
    let mut inside = parts::command("unshare", &["--net"]);
    if !setup::is_root() {
        inside.arg("--map-root-user");
    }
    inside
        .args(["sh", "-c", &script, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    inside
}
