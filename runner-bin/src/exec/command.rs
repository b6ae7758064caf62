//! The command lines of a pipeline's steps on its machine.
//!
//! A machine's stage has a folder of its own, in which everything lies:
//!
//! ```text
//! .                where every command line begins
//! ├── workspace/   below it the workspace, `src` or what the file says: where steps run
//! └── scripts/     each step's commands, as a shell script
//! ```
//!
//! Commands run from a file, not from an argument: an argument has a limit and
//! can be seen by every user of the host.

use std::path::{Component, Path, PathBuf};

use vmpool_core::{Secret, StageFile};
use vmpool_pipeline::Workspace;

/// Goes from the stage's folder (`$here`) to the workspace (`$0`) and tells the
/// step where that is.
const ENTER: &str = r#"here=$PWD; [ -d "$0" ] || mkdir -p -- "$0"; cd -- "$0" || exit
DRONE_WORKSPACE=$PWD; export DRONE_WORKSPACE
"#;

/// Runs what follows.
const RUN: &str = r#"exec "$@""#;

/// Runs what follows with the script (`$1`) as its last argument.
const RUN_SCRIPT: &str = r#"script=$here/$1; shift; exec "$@" "$script""#;

/// Runs what follows, a shell that takes its commands as an argument (`sh -c`),
/// with a command that reads the script.
const RUN_SOURCING: &str = r#"script=$here/$1; shift; exec "$@" '. "$0"' "$script""#;

/// Where steps run, as the stage's folder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(PathBuf);

impl Place {
    /// A directory of the host itself, absolute.
    pub(super) fn mounted(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The file's workspace, within the stage's folder; none where it leads out of it.
    pub(super) fn of(workspace: &Workspace) -> Option<Self> {
        let mut path = PathBuf::new();
        for part in [&workspace.base, &workspace.path].into_iter().flatten() {
            for component in Path::new(part).components() {
                match component {
                    Component::Normal(name) => path.push(name),
                    Component::RootDir | Component::CurDir => {}
                    Component::ParentDir | Component::Prefix(_) => return None,
                }
            }
        }
        if path.as_os_str().is_empty() {
            path.push("src");
        }
        Some(Self(Path::new("./workspace").join(path)))
    }

    fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// The command line that runs `program` in this place.
    pub(super) fn run(&self, program: &[String]) -> Vec<String> {
        let mut line = shell(RUN);
        line.push(self.text());
        line.extend_from_slice(program);
        line
    }

    /// The command line that runs the script at `script` by `entrypoint`, or by `/bin/sh`.
    pub(super) fn run_script(&self, script: &str, entrypoint: &[String]) -> Vec<String> {
        let takes_commands = entrypoint.last().is_some_and(|last| is_command_flag(last));
        let mut line = shell(if takes_commands {
            RUN_SOURCING
        } else {
            RUN_SCRIPT
        });
        line.extend([self.text(), script.to_owned()]);
        match entrypoint {
            [] => line.push("/bin/sh".into()),
            entrypoint => line.extend_from_slice(entrypoint),
        }
        line
    }
}

fn shell(what: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), format!("{ENTER}{what}")]
}

/// `-c`, `-ec`, `-lc` and the like: the next argument is a command.
fn is_command_flag(argument: &str) -> bool {
    argument
        .strip_prefix('-')
        .is_some_and(|flags| flags.ends_with('c') && flags.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// A script, as the stage's setup writes it.
pub(super) fn script_file(path: &str, text: String) -> StageFile {
    // Readable by the user that a step names; the folder above is not theirs to search.
    StageFile {
        path: path.into(),
        mode: 0o644,
        content: Secret::new(text),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn workspace(base: Option<&str>, path: Option<&str>) -> Workspace {
        Workspace {
            base: base.map(str::to_owned),
            path: path.map(str::to_owned),
        }
    }

    /// Runs `line` in a stage's folder that has `scripts/1`.
    fn said(line: &[String], script: &str) -> String {
        let folder = tempfile::Builder::new()
            .prefix("a 'folder'")
            .tempdir()
            .unwrap();
        std::fs::create_dir(folder.path().join("scripts")).unwrap();
        std::fs::write(folder.path().join("scripts/1"), script).unwrap();
        let output = Command::new(&line[0])
            .args(&line[1..])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let folder = folder.path().canonicalize().unwrap();
        said.replace(folder.to_str().unwrap(), "FOLDER")
    }

    #[test]
    fn a_workspace_lies_within_the_stages_folder() {
        for (base, path, place) in [
            (None, None, Some("./workspace/src")),
            (
                Some("/go"),
                Some("src/example.org/x"),
                Some("./workspace/go/src/example.org/x"),
            ),
            (None, Some("/-x/."), Some("./workspace/-x")),
            (Some("/drone/.."), None, None),
        ] {
            let found = Place::of(&workspace(base, path)).map(|place| place.text());
            assert_eq!(found.as_deref(), place);
        }
    }

    #[test]
    fn a_script_runs_in_the_workspace_and_knows_it() {
        let place = Place::of(&workspace(Some("/go 1"), None)).unwrap();
        let script = "pwd; echo \"$DRONE_WORKSPACE\"";
        let expected = "FOLDER/workspace/go 1\nFOLDER/workspace/go 1\n";
        assert_eq!(said(&place.run_script("scripts/1", &[]), script), expected);
        let bash = ["/bin/bash".to_owned()];
        assert_eq!(
            said(&place.run_script("scripts/1", &bash), script),
            expected
        );
        let sourcing = ["/bin/sh".to_owned(), "-ec".to_owned()];
        assert_eq!(
            said(&place.run_script("scripts/1", &sourcing), script),
            expected
        );
    }

    #[test]
    fn a_program_gets_its_arguments_as_they_are() {
        let place = Place::of(&workspace(None, None)).unwrap();
        let program = [
            "printf".to_owned(),
            "<%s>".to_owned(),
            "a b".to_owned(),
            "$c".to_owned(),
        ];
        assert_eq!(said(&place.run(&program), ""), "<a b><$c>");
    }

    #[test]
    fn a_mounted_directory_is_used_itself() {
        let directory = tempfile::TempDir::new().unwrap();
        let place = Place::mounted(directory.path());
        let expected = format!("{}\n", directory.path().canonicalize().unwrap().display());
        assert_eq!(
            said(&place.run_script("scripts/1", &[]), "pwd -P"),
            expected
        );
    }
}
