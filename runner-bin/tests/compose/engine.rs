//! A Docker engine of the test's own: its own files, its own socket, and the
//! network namespace that the test is in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::wait_for;

/// Ends with all of its containers when dropped.
pub(crate) struct Engine {
    folder: TempDir,
    daemon: Child,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::with_prefix("vmpool-engine-").expect("a temporary directory");
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log")).expect("the daemon's log");
        let errors = log.try_clone().expect("the daemon's log");
        let mut daemon = Command::new("dockerd");
        daemon
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("run"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("socket").display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let daemon = daemon.spawn().expect("dockerd starts");
        let engine = Self { folder, daemon };
        let log = engine.folder.path().join("log");
        wait_for("the engine", async || {
            let mut info = engine.command("docker");
            info.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
            let up = info.status().is_ok_and(|status| status.success());
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!log().contains("failed to start daemon"), "{}", log());
            up.then_some(())
        })
        .await;
        engine
    }

    /// A program that speaks to this engine.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let socket = self.folder.path().join("socket");
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            // The engine's own builder: another one is a plugin that may be missing.
            .env("DOCKER_BUILDKIT", "0");
        command
    }

    /// What `docker` says.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        said(self.command("docker").args(args))
    }

    /// An image of this Dockerfile, of what is in `context`.
    pub(crate) fn build(&self, tag: &str, dockerfile: &Path, context: &Path) {
        let mut build = self.command("docker");
        build.args(["build", "--quiet", "--tag", tag, "--file"]);
        said(build.arg(dockerfile).arg(context));
    }

    /// An image of a tar file.
    pub(crate) fn import(&self, tag: &str, file: &Path, changes: &[String]) {
        let mut import = self.command("docker");
        import.arg("import");
        for change in changes {
            import.args(["--change", change]);
        }
        said(import.arg(file).arg(tag));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.daemon.id().try_into().expect("a process id"));
        // It ends its containers first.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

/// What a command says that must succeed.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{errors}");
    said
}

/// A file that the environment must name.
pub(crate) fn named(variable: &str) -> PathBuf {
    let file = std::env::var_os(variable).map(PathBuf::from);
    file.unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask compose`"))
}
