//! `cargo xtask fuzz`: each fuzz target of the agent and the runner for a bounded
//! time.
//!
//! The targets are built as cargo-fuzz builds them, but by the compiler of this
//! workspace and without the address sanitizer, which needs a nightly one: what
//! they test has no unsafe code, so a panic, a failed assertion, a hang or too
//! much memory is what there is to find. Nothing has to be installed but a C++
//! compiler, for libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::parts::{self, cargo_command, command, target, workspace};
use crate::setup;

/// Counters at every edge, and comparisons, as libFuzzer wants them.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Whose targets there are.
const FOLDERS: [&str; 2] = ["lite-engine/fuzz", "runner-bin/fuzz"];

/// What is fuzzed, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// For so many seconds each.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Only this one.
    #[arg(long)]
    target: Option<String>,
}

impl Fuzz {
    /// As continuous integration has time for.
    pub(crate) const BRIEFLY: Self = Self {
        seconds: 15,
        target: None,
    };
}

/// Builds the targets and runs them one after another; fails where one finds something.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    setup::install_missing(&[("g++", "g++")])?;
    let mut found = false;
    for folder in FOLDERS {
        let folder = workspace().join(folder);
        let targets = targets(&folder, fuzz.target.as_deref())?;
        if !targets.is_empty() {
            found = true;
            run_all(fuzz, &folder, &targets)?;
        }
    }
    if !found {
        bail!("there is no such target");
    }
    Ok(())
}

fn run_all(fuzz: &Fuzz, folder: &Path, targets: &[String]) -> Result<()> {
    let host = host()?;
    let built = target().join("fuzz");
    let args = ["build", "--locked", "--release", "--target", &host];
    let mut build = cargo_command(&args);
    build
        .current_dir(folder)
        .env("RUSTFLAGS", INSTRUMENTED)
        .env("CARGO_TARGET_DIR", &built);
    parts::run(&mut build)?;
    for target in targets {
        println!("── {target}, {} s", fuzz.seconds);
        let program = built.join(&host).join("release").join(target);
        run_target(&program, target, folder, &built, fuzz.seconds)?;
    }
    Ok(())
}

/// The names of all targets, or of the one that was asked for.
fn targets(folder: &Path, only: Option<&str>) -> Result<Vec<String>> {
    let listed = folder.join("fuzz_targets");
    let mut targets = Vec::new();
    for file in fs::read_dir(&listed).with_context(|| format!("list {}", listed.display()))? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if only.is_none_or(|only| only == name) {
            targets.push(name.into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

fn run_target(
    program: &Path,
    target: &str,
    folder: &Path,
    built: &Path,
    seconds: u64,
) -> Result<()> {
    let made = |path: PathBuf| {
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        anyhow::Ok(path)
    };
    // What is found goes on growing there, beside the seeds that are kept.
    let grown = made(built.join("corpus").join(target))?;
    let findings = made(folder.join("artifacts").join(target))?;
    let mut fuzz = command(&program.to_string_lossy(), &[]);
    fuzz.arg(grown)
        .arg(folder.join("corpus").join(target))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"])
        // How many inputs there were, above all.
        .arg("-print_final_stats=1");
    parts::run(&mut fuzz).with_context(|| {
        format!(
            "{target} found something: run its file in {} by {} to see it again",
            findings.display(),
            program.display()
        )
    })
}

/// This machine's target triple: build scripts are not instrumented where one is named.
fn host() -> Result<String> {
    let said = command("rustc", &["-vV"]).output().context("ask rustc")?;
    let said = String::from_utf8_lossy(&said.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc names no host in -vV")
}
