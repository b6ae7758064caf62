//! The pool of a delegate that is given no pool file: the incumbent's
//! `testpool`, of EC2 machines, from the environment.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::environment::Environment;

/// The incumbent's image, which is of [`REGION`].
const IMAGE: &str = "ami-051197ce9cbb023ea";
const REGION: &str = "us-east-2";
const SIZE: &str = "t2.micro";

/// Writes the pool file into the state directory; gives its path. It has no
/// keys: those stay in the environment.
///
/// # Errors
/// The environment has no keys, or no numbers; or the file can't be written.
pub(super) fn write(environment: &Environment, state: &Path) -> anyhow::Result<PathBuf> {
    if environment.get("AWS_ACCESS_KEY_ID").is_none() {
        anyhow::bail!(
            "there is no --pool, and the pool `testpool` needs AWS_ACCESS_KEY_ID and \
             AWS_ACCESS_KEY_SECRET: name a pool file"
        );
    }
    let number = |name: &str, usual: u32| match environment.get(name) {
        None => Ok(usual),
        Some(value) => value
            .parse()
            .with_context(|| format!("{name}: it is no number")),
    };
    let (warm, limit) = (
        number("DRONE_MIN_POOL_SIZE", 1)?,
        number("DRONE_MAX_POOL_SIZE", 2)?,
    );
    let region = environment.get("AWS_DEFAULT_REGION").unwrap_or(REGION);
    let file = format!(
        "version: \"1\"\ninstances:\n- name: testpool\n  type: amazon\n  pool: {warm}\n  limit: \
         {limit}\n  spec:\n    account: {{region: {region:?}}}\n    ami: {IMAGE}\n    size: {SIZE}\n"
    );
    let attempted = || format!("write {}", state.display());
    let mut private = DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(state);
    made.with_context(attempted)?;
    let path = state.join("testpool.yml");
    fs::write(&path, file).with_context(attempted)?;
    Ok(path)
}
