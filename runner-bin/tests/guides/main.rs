//! The guides are true: what they have in blocks of `sh` is run, block after
//! block, in one shell, by the programs of this build, in a folder, a network
//! and a process namespace of its own. A guide that can't be followed fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use tempfile::TempDir;

/// Longer than a guide takes on a busy machine.
const PATIENCE: &str = "120s";

/// What the blocks of `sh` of a guide have, in their order.
fn script(markdown: &str) -> String {
    let mut script = String::new();
    let mut runs = false;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                runs = &*language == "sh";
            }
            Event::End(TagEnd::CodeBlock) => runs = false,
            Event::Text(text) if runs => script.push_str(&text),
            _ => {}
        }
    }
    script
}

/// The folder of this build's programs. Those of other packages are there when
/// the whole workspace is tested, and are built when this test is run alone.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_vmpool")).parent();
        let folder = folder.expect("a program is in a folder").to_owned();
        let lacks = |program: &str| !folder.join(program).exists();
        if lacks("lite-engine") || lacks("fake-ec2") {
            let target = folder.parent().expect("a profile is in a target folder");
            let built = Command::new(env!("CARGO"))
                .args(["build", "--workspace", "--locked", "--target-dir"])
                .arg(target)
                .args(["--bin", "lite-engine", "--bin", "fake-ec2"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .expect("run cargo");
            assert!(built.success(), "the programs were not built: {built}");
        }
        folder
    })
}

fn follow(guide: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(workspace.join("docs").join(guide)).expect("the guide");
    let script = script(&text);
    assert!(!script.is_empty(), "{guide} has nothing to run");

    let folder = TempDir::with_prefix("vmpool-guide-").expect("a temporary directory");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs().to_owned()).chain(std::env::split_paths(&path));
    let mut shell = Command::new("timeout");
    // Who follows a guide waits for what it waits for, but not for ever.
    shell.args(["--verbose", PATIENCE, "unshare"]);
    // Whatever it leaves running ends with it.
    shell.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::geteuid().is_root() {
        shell.arg("--map-root-user");
    }
    let script = format!("ip link set lo up\ncd \"$1\"\nset -eux\n{script}");
    let output = shell
        .args(["sh", "-c", &script, "sh"])
        .arg(folder.path())
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env("HOME", folder.path())
        .env_remove("VMPOOL_JOURNAL")
        .stdin(Stdio::null())
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{guide}: {}\n{said}\n{errors}",
        output.status
    );
}

#[test]
fn a_new_operator_can_follow_the_operating_guide() {
    follow("operate.md");
}

#[test]
fn an_operator_of_the_incumbent_can_follow_the_migration_guide() {
    follow("migrate.md");
}
