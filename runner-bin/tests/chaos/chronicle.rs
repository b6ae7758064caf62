//! What was done in a round and what was wrong, with its times; also as a file
//! in the round's directory, for whoever has to understand a violation.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vmpool_core::{Clock, Timestamp};

use super::schedule::Part;

/// A chronicle. Shared by all that happens in a round.
#[derive(Debug)]
pub(crate) struct Chronicle {
    begun: Instant,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    file: File,
    harmed: Vec<Harmed>,
    tally: Tally,
    wrong: Vec<String>,
}

/// A machine of which a process was killed.
#[derive(Debug, Clone)]
pub(crate) struct Harmed {
    pub(crate) machine: String,
    pub(crate) part: Part,
    pub(crate) at: Timestamp,
}

/// How often what was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) runners_killed: u32,
    pub(crate) runners_stopped: u32,
    pub(crate) runners_frozen: u32,
    pub(crate) agents_killed: u32,
    pub(crate) supervisors_killed: u32,
    pub(crate) holders_killed: u32,
    pub(crate) databases_killed: u32,
    pub(crate) databases_frozen: u32,
}

impl Chronicle {
    pub(crate) fn begin(directory: &Path) -> Self {
        let file = File::create(directory.join("chronicle")).expect("a file for the chronicle");
        Self {
            begun: Instant::now(),
            told: Mutex::new(Told {
                file,
                harmed: Vec::new(),
                tally: Tally::default(),
                wrong: Vec::new(),
            }),
        }
    }

    /// When the round began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// How long it has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn say(&self, what: impl fmt::Display) {
        let at = self.elapsed().as_secs_f64();
        let mut told = self.told.lock();
        writeln!(told.file, "{at:8.3} {what}").expect("the chronicle can be written");
    }

    /// A promise is broken.
    pub(crate) fn wrong(&self, what: impl fmt::Display) {
        self.say(format_args!("WRONG {what}"));
        self.told.lock().wrong.push(what.to_string());
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.told.lock().tally);
    }

    pub(crate) fn harmed(&self, machine: &str, part: Part) {
        self.say(format_args!("kill -9 of the {part:?} of {machine}"));
        let harmed = Harmed {
            machine: machine.to_owned(),
            part,
            at: Clock::system().now(),
        };
        let mut told = self.told.lock();
        told.harmed.push(harmed);
        let tally = &mut told.tally;
        match part {
            Part::Agent => tally.agents_killed += 1,
            Part::Supervisor => tally.supervisors_killed += 1,
            Part::Holder => tally.holders_killed += 1,
        }
    }

    /// All harm that was done to the machine.
    pub(crate) fn harm_of(&self, machine: &str) -> Vec<Harmed> {
        let told = self.told.lock();
        let harmed = told.harmed.iter().filter(|it| it.machine == machine);
        harmed.cloned().collect()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.told.lock().tally
    }

    /// All that was wrong.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.told.lock().wrong.clone()
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.runners_killed += other.runners_killed;
        self.runners_stopped += other.runners_stopped;
        self.runners_frozen += other.runners_frozen;
        self.agents_killed += other.agents_killed;
        self.supervisors_killed += other.supervisors_killed;
        self.holders_killed += other.holders_killed;
        self.databases_killed += other.databases_killed;
        self.databases_frozen += other.databases_frozen;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kill -9 of {} runners, {} agents, {} supervisors, {} holders, {} databases; \
             {} runners and {} databases frozen, {} runners told to stop",
            self.runners_killed,
            self.agents_killed,
            self.supervisors_killed,
            self.holders_killed,
            self.databases_killed,
            self.runners_frozen,
            self.databases_frozen,
            self.runners_stopped
        )
    }
}
