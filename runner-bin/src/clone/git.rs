//! What git knows of a work tree, and a repository of its own for its clone.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

/// Repository-local variables: one that is set by a hook that runs us would
/// turn every git command to another repository.
const LOCAL_VARIABLES: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// `git` in `directory`, of that directory's repository and without its hooks.
pub(crate) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    for variable in LOCAL_VARIABLES {
        command.env_remove(variable);
    }
    command
        .current_dir(directory)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .stdin(Stdio::null());
    command
}

/// A directory inside of a work tree.
#[derive(Debug)]
pub(super) struct WorkTree {
    directory: PathBuf,
    top: PathBuf,
}

impl WorkTree {
    /// The work tree that `directory` lies in; none where there is none, where
    /// the tree ignores the directory, or where git is not installed.
    pub(super) fn of(directory: &Path) -> anyhow::Result<Option<Self>> {
        let output = match git(directory)
            .args(["rev-parse", "--show-toplevel"])
            .output()
        {
            Ok(output) => output,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("run git"),
        };
        if !output.status.success() {
            return refusal(&output).map(|()| None);
        }
        let top = PathBuf::from(OsString::from_vec(output.stdout.trim_ascii_end().to_vec()));
        let directory = fs::canonicalize(directory).context("find the directory")?;
        let tree = Self { directory, top };
        Ok((tree.is_top() || !tree.ignores_directory()?).then_some(tree))
    }

    /// The directory is the whole work tree.
    pub(super) fn is_top(&self) -> bool {
        self.directory == self.top
    }

    fn ignores_directory(&self) -> anyhow::Result<bool> {
        let status = git(&self.directory)
            .args(["check-ignore", "-q", "."])
            .stderr(Stdio::null())
            .status()
            .context("run git check-ignore")?;
        Ok(status.success())
    }

    /// What git tracks or would offer to add, below the directory and relative
    /// to it; repositories inside of it likewise.
    pub(super) fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        list(&self.directory, Path::new(""), &mut files)?;
        Ok(files)
    }

    /// Makes `to` a repository with this one's commits, branch and `origin`,
    /// and no files yet.
    pub(super) fn clone_repository(
        &self,
        to: &Path,
        depth: Option<NonZeroU32>,
    ) -> anyhow::Result<()> {
        // git clones into an empty directory only, and `to` may have files of the stage.
        let aside = tempfile::Builder::new()
            .prefix(".vmpool-clone-")
            .tempdir_in(to)
            .context("make a temporary directory")?;
        let mut clone = git(to);
        clone.args(["clone", "--quiet", "--no-checkout", "--template="]);
        match depth {
            // Only a clone over a transport can be shallow.
            Some(depth) => {
                let mut url = OsString::from("file://");
                url.push(&self.directory);
                clone.arg(format!("--depth={depth}")).arg("--").arg(url);
            }
            None => {
                clone.args(["--local", "--"]).arg(&self.directory);
            }
        }
        run(clone.arg(aside.path()))?;
        fs::rename(aside.path().join(".git"), to.join(".git")).context("move .git into place")?;

        self.detach_like_original(to)?;
        if depth.is_none() {
            run(git(to)
                .args(["fetch", "--quiet"])
                .arg(&self.directory)
                .arg("+refs/remotes/origin/*:refs/remotes/origin/*"))?;
        }
        match read(git(&self.directory).args(["config", "--get", "remote.origin.url"]))? {
            Some(url) => run(git(to).args(["remote", "set-url", "origin"]).arg(url)),
            // Without one, the original stays the remote: there is nothing better to fetch from.
            None => Ok(()),
        }
    }

    /// git clones a detached head as a branch where one has the same commit.
    fn detach_like_original(&self, to: &Path) -> anyhow::Result<()> {
        if read(git(&self.directory).args(["symbolic-ref", "-q", "HEAD"]))?.is_some() {
            return Ok(());
        }
        match read(git(&self.directory).args(["rev-parse", "--verify", "-q", "HEAD"]))? {
            Some(commit) => run(git(to)
                .args(["update-ref", "--no-deref", "HEAD"])
                .arg(commit)),
            None => Ok(()),
        }
    }
}

/// Makes the index say what the commit has, so that git sees as changed what is
/// changed, and tells the state in a few words.
pub(super) fn settle(repository: &Path) -> anyhow::Result<String> {
    let Some(commit) =
        read(git(repository).args(["rev-parse", "--short", "--verify", "-q", "HEAD"]))?
    else {
        return Ok("a repository without a commit".to_owned());
    };
    run(git(repository).args(["read-tree", "HEAD"]))?;
    // Exits with 1 where a file differs; that is what it is to find out.
    git(repository)
        .args(["update-index", "-q", "--refresh"])
        .stdout(Stdio::null())
        .status()
        .context("run git update-index")?;
    let changes = git(repository)
        .args(["status", "--porcelain", "-z", "--no-renames"])
        .output()
        .context("run git status")?;
    let changes = changes
        .stdout
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
        .count();
    let commit = commit.to_string_lossy().into_owned();
    Ok(match changes {
        0 => commit,
        1 => format!("{commit} with 1 uncommitted change"),
        n => format!("{commit} with {n} uncommitted changes"),
    })
}

/// Adds what git lists in `repository`, which lies at `within`.
fn list(repository: &Path, within: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let mut command = git(repository);
    command.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let output = command.output().context("run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", last_words(&output));
    }
    for name in output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        // A repository inside of this one is listed as itself, with or without a slash.
        let name = Path::new(OsStr::from_bytes(name.strip_suffix(b"/").unwrap_or(name)));
        let path = repository.join(name);
        if path.is_dir() && !path.is_symlink() && path.join(".git").exists() {
            list(&path, &within.join(name), files)?;
        } else {
            files.insert(within.join(name));
        }
    }
    Ok(())
}

/// No repository is no error; a repository that git will not read is one.
fn refusal(output: &Output) -> anyhow::Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    if words.contains("not a git repository") || words.contains("must be run in a work tree") {
        return Ok(());
    }
    bail!("git: {}", last_words(output))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("run git")?;
    if !output.status.success() {
        bail!("git {}: {}", subcommand(command), last_words(&output));
    }
    Ok(())
}

/// What a git command prints, on one line; none where it fails without a word.
fn read(command: &mut Command) -> anyhow::Result<Option<OsString>> {
    let output = command.output().context("run git")?;
    if output.status.success() {
        return Ok(Some(OsString::from_vec(
            output.stdout.trim_ascii_end().to_vec(),
        )));
    }
    if output.stderr.is_empty() {
        return Ok(None);
    }
    bail!("git {}: {}", subcommand(command), last_words(&output))
}

/// The command's name, behind the settings that [`git`] gives.
fn subcommand(command: &Command) -> String {
    command
        .get_args()
        .nth(4)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn last_words(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<_> = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if words.is_empty() {
        output.status.to_string()
    } else {
        words.join("; ")
    }
}
