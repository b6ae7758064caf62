//! The bill of materials: every crate in the runner and in the agent, with
//! versions and licences, in CycloneDX's JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::parts::{self, command, workspace};
use crate::setup;

/// The release that writes it.
const TOOL: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// The packages, and their programs' names.
const PROGRAMS: [(&str, &str); 2] = [("runner-bin", "vmpool"), ("lite-engine", "lite-engine")];

/// Writes one file for each program into `folder`.
pub(super) fn write(folder: &Path) -> Result<()> {
    let tool = setup::cargo_tool(TOOL.0, TOOL.1)?;
    for (package, program) in PROGRAMS {
        let manifest = workspace().join(package).join("Cargo.toml");
        let mut sbom = command(&tool.to_string_lossy(), &["cyclonedx", "--format", "json"]);
        sbom.arg("--manifest-path").arg(&manifest);
        sbom.args(["--spec-version", "1.5", "--no-build-deps"]);
        sbom.args(["--override-filename", program]);
        // The same commit gives the same file.
        sbom.env("SOURCE_DATE_EPOCH", super::made());
        parts::run(&mut sbom)?;
        put_away(package, program, folder)?;
    }
    Ok(())
}

/// The tool leaves a file beside every manifest that it looked at.
fn put_away(package: &str, program: &str, folder: &Path) -> Result<()> {
    let name = format!("{program}.json");
    for entry in fs::read_dir(workspace()).context("read the workspace")? {
        let left: PathBuf = entry?.path().join(&name);
        if !left.is_file() {
            continue;
        }
        if left == workspace().join(package).join(&name) {
            let bill = folder.join(format!("{program}.cdx.json"));
            fs::copy(&left, &bill).with_context(|| format!("write {}", bill.display()))?;
        }
        fs::remove_file(&left).with_context(|| format!("remove {}", left.display()))?;
    }
    Ok(())
}
