//! What happens in a round, drawn from its seed: the builds, and who is killed
//! when. Pure: the same seed gives the same schedule. How far each build is when
//! a blow falls is up to the host.

use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Semaphore;

use super::script::{Pace, StepPlan};

/// Where the runners of a round keep their journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalKind {
    /// A file, and one runner.
    Sqlite,
    /// A server, and two runners.
    Postgres,
}

/// Which processes of machines are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// All kinds, now and then.
    Everything,
    /// Agents and nothing else, often: every build must end well.
    Agents,
    /// Holders and nothing else, often: steps are lost, and nothing but steps.
    Holders,
}

impl FromStr for Aim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "everything" => Ok(Self::Everything),
            "agents" => Ok(Self::Agents),
            "holders" => Ok(Self::Holders),
            other => Err(format!("{other} is none of everything, agents, holders")),
        }
    }
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) journal: JournalKind,
    /// Machines that are kept ready.
    pub(crate) warm: u32,
    /// Machines that there may be.
    pub(crate) limit: u32,
    pub(crate) builds: Vec<BuildPlan>,
    /// How many of them go on at the same time.
    pub(crate) at_once: usize,
    /// A build is over within this time, whatever happens (P3).
    pub(crate) patience: Duration,
    /// What is done to each runner.
    pub(crate) runners: Vec<Vec<Blow<RunnerHarm>>>,
    pub(crate) machines: Vec<Blow<MachineHarm>>,
    pub(crate) database: Vec<Blow<DatabaseHarm>>,
}

/// A build, and how its caller behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildPlan {
    pub(crate) at: Duration,
    pub(crate) stage: String,
    pub(crate) steps: Vec<StepPlan>,
    /// It asks for everything twice at once.
    pub(crate) twice: bool,
    /// It hangs up after this time and asks again.
    pub(crate) impatient: Option<Duration>,
}

/// Something that is done this long after the round's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blow<T> {
    pub(crate) at: Duration,
    pub(crate) what: T,
}

/// What is done to a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunnerHarm {
    /// SIGKILL; it is started again after this time.
    Kill(Duration),
    /// SIGTERM; it is started again once it has ended.
    Terminate,
    /// SIGSTOP; it goes on after this time.
    Freeze(Duration),
}

/// One of a machine's processes is killed by SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineHarm {
    pub(crate) part: Part,
    /// Which of those that live then, in the order of their start.
    pub(crate) nth: usize,
}

/// The processes of a machine that are not its builds'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Agent,
    Supervisor,
    /// What holds a step, or is about to.
    Holder,
}

/// What is done to all processes of the database's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseHarm {
    /// SIGKILL; it is started again after this time.
    Kill(Duration),
    /// SIGSTOP; it goes on after this time.
    Freeze(Duration),
}

/// For a build among few.
const PATIENCE: Duration = Duration::from_mins(2);

/// For a build of a crowd, whose hundred machines boot on this one host.
const CROWDED: Duration = Duration::from_mins(10);

/// Blows fall on the runner of a crowd for no longer than this, far beyond its end.
const LONGEST_CROWD: Duration = Duration::from_mins(60);

/// Within this time all blows fall.
const STORMY: Duration = Duration::from_secs(8);

/// Within this time all builds begin.
const BEGIN: Duration = Duration::from_secs(5);

impl Schedule {
    pub(crate) fn from_seed(seed: u64, journal: JournalKind, aim: Aim) -> Self {
        let mut dice = Rng::with_seed(seed);
        let warm = dice.u32(0..=2);
        let limit = dice.u32(warm.max(2)..=5);
        let builds = (1..=dice.u32(3..=6)).map(|n| BuildPlan::draw(&mut dice, n));
        let builds = builds.collect();
        let count = match journal {
            JournalKind::Sqlite => 1,
            JournalKind::Postgres => 2,
        };
        let mut runners: Vec<Vec<Blow<RunnerHarm>>> = (0..count)
            .map(|_| blows(&mut dice, 3, |dice| RunnerHarm::draw(dice, journal)))
            .collect();
        // Now and then none is left for a while.
        if dice.u32(0..100) < 30 {
            let at = span(&mut dice, 500, millis(STORMY));
            for blows in &mut runners {
                let what = RunnerHarm::Kill(span(&mut dice, 0, 2000));
                blows.push(Blow { at, what });
                blows.sort_by_key(|blow| blow.at);
            }
        }
        let spared = dice.u32(0..100) < 40;
        let most = match aim {
            Aim::Everything if spared => 0,
            Aim::Everything => 4,
            Aim::Agents | Aim::Holders => 8,
        };
        let machines = blows(&mut dice, most, |dice| MachineHarm::draw(dice, aim));
        let database = match journal {
            JournalKind::Sqlite => Vec::new(),
            JournalKind::Postgres => blows(&mut dice, 2, DatabaseHarm::draw),
        };
        Self {
            seed,
            journal,
            warm,
            limit,
            builds,
            at_once: Semaphore::MAX_PERMITS,
            patience: PATIENCE,
            runners,
            machines,
            database,
        }
    }

    /// Many builds, `at_once` of them at any time, on a runner that is killed
    /// every few seconds. Nothing else is: all of them must end well.
    pub(crate) fn crowd(seed: u64, builds: u32, at_once: u32) -> Self {
        let mut dice = Rng::with_seed(seed);
        let builds = (1..=builds).map(|n| BuildPlan {
            at: Duration::ZERO,
            ..BuildPlan::draw(&mut dice, n)
        });
        let builds = builds.collect();
        let mut kills = Vec::new();
        let mut at = Duration::ZERO;
        while at < LONGEST_CROWD {
            at += span(&mut dice, 2000, 6000);
            let what = RunnerHarm::Kill(span(&mut dice, 0, 500));
            kills.push(Blow { at, what });
        }
        Self {
            seed,
            journal: JournalKind::Sqlite,
            warm: at_once / 4,
            limit: at_once,
            builds,
            at_once: usize::try_from(at_once).expect("a number of builds"),
            patience: CROWDED,
            runners: vec![kills],
            machines: Vec::new(),
            database: Vec::new(),
        }
    }
}

impl BuildPlan {
    fn draw(dice: &mut Rng, n: u32) -> Self {
        let stage = format!("build-{n}");
        let steps = 1..=dice.u32(1..=3);
        let steps = steps.map(|s| StepPlan::draw(dice, &stage, s)).collect();
        Self {
            at: span(dice, 0, millis(BEGIN)),
            steps,
            stage: stage.clone(),
            twice: dice.u32(0..100) < 15,
            impatient: (dice.u32(0..100) < 25).then(|| span(dice, 100, 1500)),
        }
    }
}

impl StepPlan {
    fn draw(dice: &mut Rng, stage: &str, n: u32) -> Self {
        let (pace, lines) = match dice.u32(0..100) {
            0..15 => (Pace::AtOnce, dice.u32(0..=3)),
            15..35 => (Pace::AtOnce, dice.u32(1000..=60_000)),
            35..70 => (Pace::Every(span(dice, 5, 40)), dice.u32(20..=100)),
            70..85 => (Pace::Every(span(dice, 200, 700)), dice.u32(2..=8)),
            _ => (Pace::Halves(span(dice, 5, 60)), dice.u32(10..=50)),
        };
        Self {
            stage: stage.to_owned(),
            id: format!("step-{n}"),
            pace,
            lines,
            ends_bare: dice.u32(0..100) < 40,
            exit_code: if dice.u32(0..100) < 15 { 3 } else { 0 },
            leaves_one_behind: dice.u32(0..100) < 15,
        }
    }
}

impl RunnerHarm {
    fn draw(dice: &mut Rng, journal: JournalKind) -> Self {
        match dice.u32(0..100) {
            0..10 => Self::Terminate,
            // Longer than a lease lasts.
            10..20 if journal == JournalKind::Postgres => Self::Freeze(span(dice, 5000, 8000)),
            _ => Self::Kill(span(dice, 0, 1500)),
        }
    }
}

impl MachineHarm {
    fn draw(dice: &mut Rng, aim: Aim) -> Self {
        let part = match (aim, dice.u32(0..100)) {
            (Aim::Agents, _) | (Aim::Everything, 0..60) => Part::Agent,
            (Aim::Holders, _) | (Aim::Everything, 60..80) => Part::Holder,
            (Aim::Everything, _) => Part::Supervisor,
        };
        Self {
            part,
            nth: dice.usize(0..8),
        }
    }
}

impl DatabaseHarm {
    fn draw(dice: &mut Rng) -> Self {
        let away = span(dice, 0, 3000);
        match dice.u32(0..100) {
            0..75 => Self::Kill(away),
            _ => Self::Freeze(away),
        }
    }
}

/// Up to `most` blows, in the order of their time.
fn blows<T>(dice: &mut Rng, most: usize, mut draw: impl FnMut(&mut Rng) -> T) -> Vec<Blow<T>> {
    let count = dice.usize(0..=most);
    let blow = |_| Blow {
        at: span(dice, 300, millis(STORMY)),
        what: draw(dice),
    };
    let mut blows: Vec<_> = (0..count).map(blow).collect();
    blows.sort_by_key(|blow| blow.at);
    blows
}

fn span(dice: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(dice.u64(least..=most))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a round is no age")
}

#[test]
fn a_seed_has_one_schedule() {
    for seed in 0..100 {
        for journal in [JournalKind::Sqlite, JournalKind::Postgres] {
            for aim in [Aim::Everything, Aim::Agents, Aim::Holders] {
                let schedule = Schedule::from_seed(seed, journal, aim);
                assert_eq!(schedule, Schedule::from_seed(seed, journal, aim));
                let other = Schedule::from_seed(seed + 1, journal, aim);
                assert_ne!(schedule.builds, other.builds);
            }
        }
    }
}
