//! Where PostgreSQL's programs are, and the user they run as: they refuse to
//! run as root.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

/// Where Debian's packages put them, a folder a release.
const DEBIAN: &str = "/usr/lib/postgresql";

/// PostgreSQL's programs.
#[derive(Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    /// None: they run as we do.
    user: Option<User>,
}

impl Programs {
    /// Those of the newest release here.
    pub(super) fn find() -> Self {
        let Some(folder) = debian().or_else(in_path) else {
            panic!(
                "PostgreSQL's server is not installed (no pg_ctl in {DEBIAN}/*/bin nor in PATH): \
                 run `cargo xtask setup`, or install it, on Debian with `apt-get install postgresql-15`"
            );
        };
        Self {
            folder,
            user: geteuid().is_root().then(unprivileged),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives `folder` to the user that they run as.
    pub(super) fn hand_over(&self, folder: &Path) {
        let Some(user) = &self.user else { return };
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .unwrap_or_else(|error| panic!("give {} to {}: {error}", folder.display(), user.name));
    }

    /// Runs `program`, with a clean environment: none of the caller's `PG*`.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

fn debian() -> Option<PathBuf> {
    let releases = fs::read_dir(DEBIAN).ok()?.flatten();
    let bins = releases.map(|release| release.path().join("bin"));
    bins.filter(|bin| bin.join("pg_ctl").is_file())
        .max_by_key(|bin| release_number(bin))
}

fn release_number(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|bin| bin.join("pg_ctl").is_file())
}

fn unprivileged() -> User {
    let known = ["postgres", "nobody"].map(|name| User::from_name(name).ok().flatten());
    let mut known = known.into_iter().flatten();
    known.next().expect("a system has a user named nobody")
}
