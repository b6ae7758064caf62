//! `cargo xtask compose`: the container image is built from an archive as it is
//! given to users, and the Compose file is run with it, on a Docker engine of
//! its own in a network namespace of its own. PostgreSQL's image is made of the
//! server that this host has: no registry is asked.

use std::fs;

use anyhow::{Context, Result};

use crate::dist::{self, Dist};
use crate::namespace;
use crate::parts::{self, cargo, cargo_command, command, target};
use crate::programs::AMD64;
use crate::setup;

/// The script that puts PostgreSQL's server into a tar file of an image.
const POSTGRES: &str = include_str!("compose/postgres.sh");

/// What the engine and its images are made with, and the Debian packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    // The authorities that the image trusts.
    ("update-ca-certificates", "ca-certificates"),
];

/// The addresses that the fake EC2's machines have there: containers reach them.
const MACHINES: &str = "ip route add local 10.1.0.0/16 dev lo";

/// Builds what is missing, and runs the Compose file's test.
pub(crate) fn run() -> Result<()> {
    setup::install_missing(&PROGRAMS)?;
    setup::packages()?;
    dist::make(Dist::QUICK)?;
    let postgres = postgres()?;
    // As all tests are built, so that nothing is built twice.
    let test = ["test", "--locked", "--workspace", "--test", "compose"];
    cargo(&[&test[..], &["--no-run"]].concat())?;
    let test = cargo_command(&[&test[..], &["--", "--nocapture"]].concat());
    let mut test = namespace::inside(&test, MACHINES);
    test.env("VMPOOL_TEST_DIST", Dist::QUICK.archive(AMD64))
        .env("VMPOOL_TEST_POSTGRES", postgres);
    parts::run(&mut test)
}

/// The tar file of PostgreSQL's image.
fn postgres() -> Result<std::path::PathBuf> {
    let folder = target().join("postgres-image");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let script = folder.join("postgres.sh");
    fs::write(&script, POSTGRES).with_context(|| format!("write {}", script.display()))?;
    parts::run(command("sh", &[]).arg(&script).arg(&folder))?;
    Ok(folder.join("postgres.tar"))
}
