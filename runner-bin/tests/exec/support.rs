//! A project of a test's own, `vmpool` run in it, and what it leaves behind.
//!
//! Everything that a run starts inherits `TMPDIR`, or lies below it: that is
//! how a test knows its own processes among all others of the host.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `look` sees something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        thread::sleep(LOOK);
    }
}

/// A directory with a pipeline file, and one for temporary files.
pub(crate) struct Project {
    directory: TempDir,
}

impl Project {
    /// A project whose `.vmpool.yml` has these steps.
    pub(crate) fn with_steps(steps: &str) -> Self {
        Self::new(&format!("kind: pipeline\nname: test\nsteps:\n{steps}"))
    }

    /// A project whose `.vmpool.yml` is `text`.
    pub(crate) fn new(text: &str) -> Self {
        let directory = TempDir::with_prefix("vmpool-test-").expect("a temporary directory");
        let project = Self { directory };
        fs::create_dir(project.path()).expect("the project's directory");
        fs::create_dir(project.tmp()).expect("a directory for temporary files");
        project.write(".vmpool.yml", text);
        project
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    /// Where its runs keep their state.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::write(&path, text).expect("write a file of the project");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path, mode).expect("set a file's mode");
    }

    /// Makes it a git repository whose files are committed.
    pub(crate) fn commit(&self) {
        let script = "git init -q -b main && git add . && \
            git -c user.name=Mona -c user.email=mona@example.org commit -qm 'Say hello'";
        let status = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.path())
            .status();
        assert!(status.expect("there is git").success());
    }

    /// `vmpool`, to be run in the project.
    pub(crate) fn vmpool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpool"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("TMPDIR", self.tmp())
            .env_remove("VMPOOL_LOG")
            .stdin(Stdio::null());
        command
    }

    /// `vmpool exec`, begun.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.vmpool(&[&["exec"], arguments].concat()))
    }

    /// `vmpool exec` from its beginning to its end, which leaves nothing behind.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Ran {
        let ran = self.start(arguments).end();
        self.wait_until_nothing_is_left();
        ran
    }

    /// Waits until no process of the project's runs is left (P10).
    pub(crate) fn wait_until_nothing_is_left(&self) {
        wait_for(&format!("the end of {:?}", self.processes()), || {
            self.processes().is_empty().then_some(())
        });
    }

    /// The state directories of its runs.
    pub(crate) fn states(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.tmp()).expect("the directory for temporary files");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    /// The processes of its runs, with their command lines.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.directory.path().to_str().expect("a path in UTF-8");
        processes(|_, process| {
            ["environ", "cmdline"].iter().any(|file| {
                fs::read(process.join(file))
                    .is_ok_and(|text| String::from_utf8_lossy(&text).contains(mark))
            })
        })
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind either.
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The processes whose command line has `text`.
pub(crate) fn processes_with(text: &str) -> Vec<(i32, String)> {
    processes(|line, _| line.contains(text))
}

fn processes(is_wanted: impl Fn(&str, &Path) -> bool) -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").expect("there is /proc");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid: i32 = path.file_name()?.to_str()?.parse().ok()?;
            let line = fs::read(path.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let is_self = u32::try_from(pid) == Ok(std::process::id());
            let is_zombie = line.is_empty();
            (!is_self && !is_zombie && is_wanted(&line, &path)).then_some((pid, line))
        })
        .collect()
}

/// A command at work, its output read as it comes.
pub(crate) struct Running {
    child: Child,
    out: Output,
    err: Output,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Running {
    /// Starts `command`.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start vmpool");
        let out = Output::of(child.stdout.take().expect("it is piped"));
        let err = Output::of(child.stderr.take().expect("it is piped"));
        Self { child, out, err }
    }

    /// Waits until its standard output has `text`.
    pub(crate) fn wait_for_output(&mut self, text: &str) {
        wait_for(&format!("{text:?} in the output"), || {
            if self.out.text().contains(text) {
                return Some(());
            }
            let ended = self.child.try_wait().expect("look at the command");
            assert!(
                ended.is_none(),
                "it ended without {text:?}: {:?}",
                self.out.text()
            );
            None
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("send a signal");
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Ran {
        let status: ExitStatus = wait_for("the end of vmpool", || {
            self.child.try_wait().expect("look at the command")
        });
        Ran {
            code: status.code(),
            out: self.out.end(),
            err: self.err.end(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command writes, collected by a thread.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                collected
                    .lock()
                    .expect("no panic")
                    .extend_from_slice(&chunk[..read]);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no panic")).into_owned()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        self.text()
    }
}

impl Ran {
    /// Fails unless it ended with `code`.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails unless its standard output has `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in:\n{self}");
        self
    }

    /// Fails if its output or its errors have `text`.
    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(
            !self.out.contains(text) && !self.err.contains(text),
            "{text:?} in:\n{self}"
        );
        self
    }

    /// Fails unless its standard error has `text`.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(
            self.err.contains(text),
            "no {text:?} in the errors:\n{self}"
        );
        self
    }

    /// What a step printed, in the plain view.
    pub(crate) fn log_of(&self, step: &str) -> String {
        self.out
            .lines()
            .filter_map(|line| {
                let (name, text) = line.split_once(" | ")?;
                (name.trim_end() == step).then(|| format!("{text}\n"))
            })
            .collect()
    }

    /// The events that `--json` printed.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        self.out.lines().map(parse).collect()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {:?}\n{}\n--- errors\n{}",
            self.code, self.out, self.err
        )
    }
}
