//! A step of a build: what its shell runs, and what its log must be.
//!
//! Each step says in the round's directory that it was started, and in its
//! machine's folder whose machine that is: a step that runs twice, or on a
//! machine of two stages, can't go unseen (P2, P4).

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The exit code of a step that found another stage's mark on its machine.
pub(crate) const SHARED: u8 = 99;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepPlan {
    pub(crate) stage: String,
    pub(crate) id: String,
    pub(crate) pace: Pace,
    /// How many it writes.
    pub(crate) lines: u32,
    /// Its last words end with no line end.
    pub(crate) ends_bare: bool,
    pub(crate) exit_code: u8,
    /// It leaves a process behind, in a session of its own.
    pub(crate) leaves_one_behind: bool,
}

/// How fast lines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    /// With a pause after each; to standard output and error in turn.
    Every(Duration),
    /// With a pause in the middle of each.
    Halves(Duration),
}

/// Where a step leaves its marks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks<'a> {
    /// The folders of the round's machines.
    pub(crate) machines: &'a Path,
    /// A file a step, with a line for each time that it was started.
    pub(crate) starts: &'a Path,
}

/// The name of a step's file in [`Marks::starts`].
pub(crate) fn start_mark(stage: &str, step: &str) -> String {
    format!("{stage}.{step}")
}

/// The beginning of the names of the marks in a machine's folder.
pub(crate) const STAGE_MARK: &str = "served-";

impl StepPlan {
    /// The script for `sh -c`.
    pub(crate) fn script(&self, marks: Marks<'_>) -> String {
        let Self {
            stage, id, lines, ..
        } = self;
        let starts = marks.starts.join(start_mark(stage, id));
        let machines = marks.machines.display();
        let mut script = format!(
            "echo started >> {}\n\
             folder={machines}/$VMPOOL_MACHINE\n\
             : > $folder/{STAGE_MARK}{stage}\n\
             set -- $folder/{STAGE_MARK}*\n\
             [ $# = 1 ] || {{ echo \"machine of $*\"; exit {SHARED}; }}\n",
            starts.display()
        );
        if self.leaves_one_behind {
            script.push_str("setsid sleep 600 &\n");
        }
        let (line, pause) = match self.pace {
            Pace::AtOnce => ("echo \"$text\"".to_owned(), None),
            Pace::Every(pause) => {
                let line =
                    "if [ $((i % 2)) = 0 ]; then echo \"$text\"; else echo \"$text\" >&2; fi";
                (line.to_owned(), Some(pause))
            }
            Pace::Halves(pause) => {
                let line = format!(
                    "printf %s \"${{text%% *}}\"; sleep {}; echo \" ${{text#* }}\"",
                    pause.as_secs_f64()
                );
                (line, None)
            }
        };
        let text = "$i";
        let pause = pause.map(|pause| format!("sleep {}; ", pause.as_secs_f64()));
        // Writing to a string can't fail.
        let _ = write!(
            script,
            "i=1\nwhile [ $i -le {lines} ]; do text=\"{stage}/{id} line {text}\"; {line}; {}\
             i=$((i + 1)); done\n",
            pause.unwrap_or_default()
        );
        if self.ends_bare {
            let _ = writeln!(script, "printf %s '{}'", self.last_words());
        }
        let _ = writeln!(script, "exit {}", self.exit_code);
        script
    }

    /// All that it writes.
    pub(crate) fn log(&self) -> Vec<u8> {
        let mut log = String::new();
        for i in 1..=self.lines {
            let _ = writeln!(log, "{}/{} line {i}", self.stage, self.id);
        }
        if self.ends_bare {
            log.push_str(&self.last_words());
        }
        log.into_bytes()
    }

    fn last_words(&self) -> String {
        format!("{}/{} is done", self.stage, self.id)
    }
}

#[test]
fn a_script_writes_its_log() {
    let host = tempfile::tempdir().expect("a temporary directory");
    let machines = host.path().join("machines");
    std::fs::create_dir_all(machines.join("m")).expect("a machine's folder");
    let marks = Marks {
        machines: &machines,
        starts: host.path(),
    };
    for pace in [
        Pace::AtOnce,
        Pace::Every(Duration::from_millis(1)),
        Pace::Halves(Duration::from_millis(1)),
    ] {
        for ends_bare in [false, true] {
            let plan = StepPlan {
                stage: "stage".to_owned(),
                id: "step".to_owned(),
                pace,
                lines: 5,
                ends_bare,
                exit_code: 3,
                leaves_one_behind: false,
            };
            let script = format!("exec 2>&1\n{}", plan.script(marks));
            let ran = std::process::Command::new("sh")
                .args(["-c", &script])
                .env("VMPOOL_MACHINE", "m")
                .output()
                .expect("every system has a shell");
            assert_eq!(ran.status.code(), Some(3));
            assert_eq!(ran.stdout, plan.log());
        }
    }
}
