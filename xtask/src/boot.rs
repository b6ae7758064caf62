//! `cargo xtask boot`: a machine that really boots, from its kernel to the end
//! of a stage.
//!
//! The image is made once and kept in the target folder for as long as its
//! recipe stays the same. The test runs in a network namespace of its own,
//! where EC2's metadata address is its own to listen on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::agent::{self, Agent};
use crate::namespace;
use crate::parts::{self, cargo, cargo_command, target};
use crate::programs::AMD64;
use crate::setup;

/// The script that makes the image, which is also what it is known by.
const RECIPE: &str = include_str!("boot/image.sh");

/// Programs that make and boot the image, and their Debian packages.
const PROGRAMS: [(&str, &str); 6] = [
    ("debootstrap", "debootstrap"),
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
];

/// EC2's metadata address is the machine's own there.
const METADATA: &str = "ip address add 169.254.169.254/32 dev lo";

/// Makes what is missing, and boots machines.
pub(crate) fn run() -> Result<()> {
    let image = image()?;
    agent::build(Agent::QUICK, &[AMD64])?;
    let agent = Agent::QUICK.file(AMD64);
    let agents = agent.parent().unwrap_or(&agent);
    // As all tests are built, so that nothing is built twice.
    let test = ["test", "--locked", "--workspace", "--test", "boot"];
    // Built here, where there is a network.
    cargo(&[&test[..], &["--no-run"]].concat())?;
    let boot = cargo_command(&[&test[..], &["--", "--nocapture"]].concat());
    let mut boot = namespace::inside(&boot, METADATA);
    boot.env("VMPOOL_BOOT_IMAGE", &image)
        .env("VMPOOL_BOOT_AGENTS", agents);
    parts::run(&mut boot)
}

/// The image's folder; made where there is none of this recipe.
pub(crate) fn image() -> Result<PathBuf> {
    setup::install_missing(&PROGRAMS)?;
    let folder = target().join("boot-image");
    let known = folder.join("recipe");
    if fs::read_to_string(&known).is_ok_and(|recipe| recipe == RECIPE) {
        return Ok(folder);
    }
    let new = target().join("boot-image.new");
    for old in [&folder, &new] {
        parts::run(setup::as_root("rm").arg("-rf").arg(old))?;
    }
    fs::create_dir_all(&new).with_context(|| format!("make {}", new.display()))?;
    let script = new.join("image.sh");
    fs::write(&script, RECIPE).with_context(|| format!("write {}", script.display()))?;
    parts::run(setup::as_root("sh").arg(&script).arg(&new))?;
    fs::write(new.join("recipe"), RECIPE).with_context(|| format!("write {}", known.display()))?;
    fs::rename(&new, &folder).with_context(|| format!("keep {}", folder.display()))?;
    Ok(folder)
}
