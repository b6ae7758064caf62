//! What a new machine lacks for the tests: packages, and the tool that checks
//! dependencies. What is there already is left alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::parts::{self, cargo, cargo_command, command};

/// Programs that tests call, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 13] = [
    ("git", "git"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("python3", "python3"),
    ("setsid", "util-linux"),
    ("ps", "procps"),
    // They judge what a new machine does first.
    ("cloud-init", "cloud-init"),
    ("shellcheck", "shellcheck"),
    // They judge what is deployed.
    ("systemd-analyze", "systemd"),
    ("promtool", "prometheus"),
];

/// PostgreSQL's server, for the tests of a journal that runners share. Its
/// programs are not in PATH; the cluster that the package makes is left alone.
const POSTGRES: (&str, &str) = ("/usr/lib/postgresql/15/bin/pg_ctl", "postgresql-15");

/// The release that the checks were written against.
const CARGO_DENY: &str = "0.20.2";

/// The packages that the tests need.
pub(crate) fn packages() -> Result<()> {
    install_missing(&PROGRAMS)?;
    components()?;
    // Another release, or one that is in PATH, will do.
    let any = r"command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl";
    if succeeds(any) {
        return Ok(());
    }
    install_missing(&[POSTGRES])
}

/// What the example client in Python needs, as its requirements.txt has it.
/// Tests find it in the target folder.
pub(crate) fn python_client() -> Result<()> {
    let wanted = parts::workspace().join("examples/python/requirements.txt");
    let wanted =
        std::fs::read_to_string(&wanted).with_context(|| format!("read {}", wanted.display()))?;
    let packages: Vec<&str> = wanted.split_whitespace().collect();
    python_tools("grpc", &packages).map(drop)
}

/// Everything that `cargo xtask test` needs.
pub(crate) fn run() -> Result<()> {
    packages()?;
    python_client()?;
    cargo_deny().map(drop)
}

/// Installs the Debian packages of those programs that are not there.
pub(crate) fn install_missing(programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !is_there(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages)
}

fn install(packages: &[&str]) -> Result<()> {
    if !is_there("apt-get") {
        bail!("install these with your package manager, then run this again: {packages:?}");
    }
    let apt = |args: &[&str]| {
        let mut command = as_root("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        parts::run(&mut command)
    };
    apt(&["update", "-q"])?;
    let mut args = vec!["install", "-qy", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

/// What a toolchain of the minimal profile lacks.
fn components() -> Result<()> {
    if succeeds("cargo fmt --version && cargo clippy --version") {
        return Ok(());
    }
    parts::run(&mut command(
        "rustup",
        &["component", "add", "rustfmt", "clippy"],
    ))
    .context("without rustup, install rustfmt and clippy of this toolchain yourself")
}

/// The folder of an environment of Python's own with these packages, made once.
pub(crate) fn python_tools(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = parts::target().join("tools").join(name);
    let done = folder.join(packages.join("-"));
    if done.exists() {
        return Ok(folder);
    }
    python_environments()?;
    parts::run(command("python3", &["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = folder.join("bin").join("pip");
    let args = ["install", "--quiet", "--disable-pip-version-check"];
    parts::run(command(&pip.to_string_lossy(), &args).args(packages))?;
    std::fs::write(&done, "").with_context(|| format!("write {}", done.display()))?;
    Ok(folder)
}

/// What Python needs to make an environment of its own.
fn python_environments() -> Result<()> {
    install_missing(&[("python3", "python3")])?;
    if succeeds("python3 -c 'import ensurepip, venv'") {
        return Ok(());
    }
    install(&["python3-venv"])
}

/// The standard library for another target.
pub(crate) fn target(triple: &str) -> Result<()> {
    parts::run(&mut command("rustup", &["target", "add", triple])).with_context(|| {
        format!("without rustup, install the standard library for {triple} yourself")
    })
}

/// The tool that checks dependencies.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    cargo_tool("cargo-deny", CARGO_DENY)
}

/// A tool that cargo installs, of this version, built once into the target folder.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<PathBuf> {
    let root = parts::target().join("tools");
    let tool = root.join("bin").join(name);
    let root = root
        .to_str()
        .context("the target folder's path is not UTF-8")?;
    // Not every tool says its own version when it is asked.
    let there = parts::said(&mut cargo_command(&["install", "--list", "--root", root]))?;
    if there.contains(&format!("{name} v{version}:")) && tool.exists() {
        return Ok(tool);
    }
    cargo(&[
        "install",
        "--locked",
        "--root",
        root,
        "--version",
        version,
        name,
    ])?;
    Ok(tool)
}

fn is_there(program: &str) -> bool {
    succeeds(&format!("command -v {program}"))
}

fn succeeds(script: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// A command with root's rights; a user that is not root has them by sudo.
pub(crate) fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Whether this user is root.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
