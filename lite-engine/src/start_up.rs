//! How the machine came up: what its start-up scripts did and how long each
//! part took, and what must be there before the machine is ready.
//!
//! The scripts append lines to a file, times in seconds since the machine's
//! start, as `/proc/uptime` has them:
//!
//! ```text
//! phase BEGAN ENDED NAME      it is over
//! awaits NAME                 the machine is not ready before a phase of that name is over
//! failed NAME REASON          it will not be there
//! ```
//!
//! A machine without such a file (its provider writes none, or it was started
//! again) awaits nothing. Other lines, and what is beyond the bounds, are
//! overlooked: scripts only report, and must not be able to do harm.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use vmpool_core::BootPhase;

use crate::untrusted::regular_file;

/// Bytes of the file at most.
const LONGEST: u64 = 64 * 1024;
/// Phases told at most, and bytes of a name.
const MOST_PHASES: usize = 64;
const LONGEST_NAME: usize = 64;

/// The machine's start-up, as the agent knows it.
#[derive(Clone, Debug, Default)]
pub struct StartUp {
    file: Option<PathBuf>,
    /// When the agent itself was up.
    up: Duration,
}

/// Why the machine is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Something is on its way.
    #[error("the machine still waits for {name}")]
    Awaits {
        /// What.
        name: String,
    },
    /// Something will not come.
    #[error("the machine has no {name}: {reason}")]
    Failed {
        /// What.
        name: String,
        /// Why.
        reason: String,
    },
    /// What the scripts tell can't be read.
    #[error("read the start-up's file: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl StartUp {
    /// Scripts tell in this file; the agent is up now.
    pub fn told_in(file: Option<PathBuf>) -> Self {
        Self { file, up: uptime() }
    }

    /// The phases that are over, by their ends, the agent's own among them.
    ///
    /// # Errors
    /// [`NotReady`]: something that the machine must have is not there.
    pub fn look(&self) -> Result<Vec<BootPhase>, NotReady> {
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        let text = regular_file(file, LONGEST).map_err(|error| NotReady::Unreadable {
            reason: error.to_string(),
        })?;
        let Some(text) = text else {
            return Ok(Vec::new());
        };
        let told = Told::read(&String::from_utf8_lossy(&text));
        told.ready()?;
        Ok(told.phases(self.up, uptime()))
    }
}

/// Since the machine's start; nothing where that is not to be had.
fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(seconds)
        .unwrap_or_default()
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// What the scripts told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    phases: Vec<Span>,
    awaited: Vec<String>,
    failed: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Span {
    name: String,
    began: Duration,
    ended: Duration,
}

impl Told {
    fn read(text: &str) -> Self {
        let mut told = Self::default();
        for line in text.lines() {
            let Some((what, rest)) = line.split_once(' ') else {
                continue;
            };
            match what {
                "phase" if told.phases.len() < MOST_PHASES => told.phases.extend(span(rest)),
                "awaits" => told.awaited.extend(name(rest)),
                "failed" => {
                    let (of, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                    told.failed
                        .extend(name(of).map(|of| (of, reason.to_owned())));
                }
                _ => {}
            }
        }
        told
    }

    fn ready(&self) -> Result<(), NotReady> {
        let failed = self
            .failed
            .iter()
            .find(|(name, _)| self.awaited.contains(name));
        if let Some((name, reason)) = failed.cloned() {
            return Err(NotReady::Failed { name, reason });
        }
        let is_over = |name: &String| self.phases.iter().any(|phase| phase.name == *name);
        match self.awaited.iter().find(|name| !is_over(name)) {
            Some(name) => Err(NotReady::Awaits { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// With the agent's own, which began when the phase before it was over.
    fn phases(mut self, up: Duration, now: Duration) -> Vec<BootPhase> {
        let ends = self.phases.iter().map(|phase| phase.ended);
        let began = ends.filter(|end| *end <= up).max().unwrap_or_default();
        self.phases.push(Span {
            name: "agent up".to_owned(),
            began,
            ended: up,
        });
        self.phases.sort_by_key(|phase| phase.ended);
        let phases = self.phases.into_iter().map(|phase| BootPhase {
            name: phase.name,
            began_ago: now.saturating_sub(phase.began),
            took: phase.ended.saturating_sub(phase.began),
        });
        phases.collect()
    }
}

/// `BEGAN ENDED NAME`.
fn span(text: &str) -> Option<Span> {
    let (began, rest) = text.split_once(' ')?;
    let (ended, rest) = rest.split_once(' ')?;
    Some(Span {
        name: name(rest)?,
        began: seconds(began)?,
        ended: seconds(ended)?,
    })
}

fn name(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= LONGEST_NAME;
    let plain = text.chars().all(|char| !char.is_control());
    (fits && plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "phase 0 12.5 system\nphase 12.50 13.00 clock\nawaits docker\n\
                        phase 13.00 20.25 agent\n";

    const NOW: Duration = Duration::from_secs(100);
    const UP: Duration = Duration::from_secs(22);

    #[test]
    fn phases_are_told_by_how_long_ago_they_began_with_the_agents_own() {
        let text = format!("{TEXT}phase 20.25 40 docker\n");
        let told = Told::read(&text);
        assert_eq!(told.ready(), Ok(()));
        let phases = told.phases(UP, NOW);
        let shown: Vec<_> = phases
            .iter()
            .map(|phase| {
                (
                    &*phase.name,
                    phase.began_ago.as_millis(),
                    phase.took.as_millis(),
                )
            })
            .collect();
        let expected = [
            ("system", 100_000, 12_500),
            ("clock", 87_500, 500),
            ("agent", 87_000, 7_250),
            ("agent up", 79_750, 1_750),
            ("docker", 79_750, 19_750),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_machine_is_not_ready_before_what_it_awaits_and_says_what_will_not_come() {
        let awaits = Told::read(TEXT).ready().expect_err("docker is not there");
        assert_eq!(awaits.to_string(), "the machine still waits for docker");
        let text = format!("{TEXT}failed plugin x\nfailed docker no such package\n");
        let failed = Told::read(&text).ready().expect_err("docker will not come");
        assert_eq!(
            failed.to_string(),
            "the machine has no docker: no such package"
        );
    }

    #[test]
    fn a_machine_without_such_a_file_awaits_nothing() {
        assert_eq!(StartUp::default().look(), Ok(Vec::new()));
        let none = StartUp::told_in(Some("/nonexistent/start".into()));
        assert_eq!(none.look(), Ok(Vec::new()));
    }

    #[test]
    fn what_can_be_told_is_bounded() {
        let text = "phase 0 1 x\n".repeat(1000);
        assert_eq!(Told::read(&text).phases.len(), MOST_PHASES);
        let long = format!(
            "phase 0 1 {}\nphase -1 1 x\nphase 0 NaN x\n",
            "x".repeat(65)
        );
        assert_eq!(Told::read(&long), Told::default());
    }

    proptest! {
        #[test]
        fn p13_any_text_is_read(text in "((phase|awaits|failed) [0-9e. -]{0,9} [a-z ]{0,9}\n|.{0,9}\n){0,20}") {
            let told = Told::read(&text);
            let _ = told.ready();
            let _ = told.phases(UP, NOW);
        }
    }
}
