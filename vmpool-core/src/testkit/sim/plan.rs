//! What shall happen in a history: made from a seed, or by hand.

use std::time::Duration;

use super::dice::Dice;
use super::life::Mishap;
use super::life::Side;
use crate::agent::Clocks;
use crate::id::{StageId, StepId};
use crate::step::StepStatus;
use crate::testkit::SimStep;

/// What shall happen in a history.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything that is not said here is thrown with these dice.
    pub seed: u64,
    /// Runners of the deployment; more than one share the pools.
    pub runners: usize,
    /// The pools.
    pub pools: Vec<PoolPlan>,
    /// The builds.
    pub builds: Vec<BuildPlan>,
    /// What else happens, and when.
    pub events: Vec<(Duration, Happening)>,
    /// At a call of the first runner's first life.
    pub mishap: Option<(u64, Mishap)>,
    /// The machines' clocks.
    pub clocks: Clocks,
    /// When all builds are over, every runner ends, and nobody starts one until
    /// the machines' clocks and a sweep have ended what was left.
    pub abandoned: bool,
}

/// A pool of a history.
#[derive(Debug, Clone)]
pub struct PoolPlan {
    /// Its name.
    pub name: &'static str,
    /// Machines kept ready.
    pub warm: u32,
    /// Machines at most.
    pub limit: u32,
    /// The provider says of each of its launches that it can't work.
    pub broken: bool,
}

/// A build, as its client means it.
#[derive(Debug, Clone)]
pub struct BuildPlan {
    /// When it begins.
    pub at: Duration,
    /// Its pool.
    pub pool: &'static str,
    /// Its stage.
    pub stage: StageId,
    /// How long it waits for a machine.
    pub wait: Duration,
    /// Its steps, one after the other.
    pub steps: Vec<StepPlan>,
    /// What its client is like.
    pub manners: Manners,
}

/// What a client is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Makes each call twice at once.
    pub twice: bool,
    /// Waits only so long for an answer to a step, then asks again.
    pub impatient: bool,
    /// Is never heard of again after so many of its calls.
    pub vanishes_after: Option<u64>,
    /// Asks once more for everything when the build is over.
    pub asks_again: bool,
}

/// A step, as it will go.
#[derive(Debug, Clone)]
pub struct StepPlan {
    /// Its id, not used for any other step.
    pub id: StepId,
    /// What it prints, and when.
    pub prints: Vec<(Duration, String)>,
    /// How long it takes, if it is let.
    pub takes: Duration,
    /// How it ends.
    pub ends: StepEndPlan,
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEndPlan {
    /// By itself.
    Exits(i32),
    /// Its client cancels it after the time that it takes.
    IsCancelled,
}

impl StepPlan {
    /// The script that does it.
    pub(super) fn script(&self) -> SimStep {
        let step = match self.ends {
            StepEndPlan::Exits(code) => SimStep::exits(code).takes(self.takes),
            StepEndPlan::IsCancelled => SimStep::hangs(),
        };
        let prints = self.prints.iter();
        prints.fold(step, |step, (at, text)| {
            step.prints_after(*at, text.clone())
        })
    }

    /// Its whole log, if nothing keeps it from printing.
    pub(super) fn log(&self) -> Vec<u8> {
        let mut prints = self.prints.clone();
        prints.sort_by_key(|(at, _)| *at);
        let ends = self.ends != StepEndPlan::IsCancelled;
        let printed = prints.iter().filter(|(at, _)| !ends || *at <= self.takes);
        printed.flat_map(|(_, text)| text.bytes()).collect()
    }

    /// Its status, where nothing happens to its machine.
    pub(super) fn status(&self) -> StepStatus {
        match self.ends {
            StepEndPlan::Exits(code) => StepStatus::Exited { code },
            StepEndPlan::IsCancelled => StepStatus::Cancelled,
        }
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A runner dies so many of its calls later, and is started again after a while.
    Crash {
        /// Which runner.
        runner: usize,
        /// Its calls until then.
        calls: u64,
        /// Where in the call.
        side: Side,
    },
    /// A runner is stopped, as by a debugger, and continued.
    Stop {
        /// Which runner.
        runner: usize,
        /// Its calls until then.
        calls: u64,
        /// For how long.
        span: Duration,
    },
    /// A runner hands over and is started again, as by an upgrade.
    HandOver {
        /// Which runner.
        runner: usize,
    },
    /// The journal's database can't be reached.
    JournalAway(Duration),
    /// The journal's rows are lost, and with them every runner's life.
    LoseJournal,
    /// All kinds of calls begin to go wrong, or other ones.
    RoughWeather,
    /// Nothing goes wrong by itself any more.
    FairWeather,
    /// The provider takes a machine away.
    Reclaim,
    /// The provider says that it takes a machine away, and does so two minutes later.
    ReclaimWithNotice,
    /// The provider recommends to replace a machine.
    Recommend,
    /// A machine's agent dies, and the provider does not notice.
    KillAgent,
    /// A machine answers nobody for a while.
    HangMachine(Duration),
    /// An agent is restarted; its steps run on.
    RestartAgent,
    /// The connections to a machine break.
    BreakConnections,
    /// The connections to the next machine that a stage gets break while that is
    /// written down.
    BreakAtClaim,
    /// The next machine that is to be prepared can't be, however often it is tried.
    SpoilNext,
}

impl Plan {
    /// One build on one machine, with nothing going wrong.
    pub fn single_build(seed: u64) -> Self {
        let seconds = Duration::from_secs;
        let step = |n: u64| StepPlan {
            id: StepId::new(format!("step-{n}")),
            prints: vec![
                (Duration::ZERO, format!("step {n} begins\n")),
                (seconds(2), format!("step {n} goes on\n")),
            ],
            takes: seconds(3),
            ends: StepEndPlan::Exits(i32::from(n == 2)),
        };
        let build = BuildPlan {
            at: seconds(30),
            pool: "linux",
            stage: StageId::new("build-1"),
            wait: Duration::from_mins(10),
            steps: vec![step(1), step(2)],
            manners: Manners::default(),
        };
        Self {
            seed,
            runners: 1,
            pools: vec![PoolPlan {
                name: "linux",
                warm: 1,
                limit: 2,
                broken: false,
            }],
            builds: vec![build],
            events: Vec::new(),
            mishap: None,
            clocks: long_clocks(),
            abandoned: false,
        }
    }

    /// Many builds, and whatever can go wrong.
    pub fn from_seed(seed: u64) -> Self {
        // Dice of its own: what happens throws others.
        let dice = Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let two = dice.chance(30);
        let mut pools = vec![PoolPlan {
            name: "linux",
            warm: small(&dice, 0, 3),
            limit: small(&dice, 2, 5),
            broken: false,
        }];
        if dice.chance(25) {
            pools.push(PoolPlan {
                name: "windows",
                warm: small(&dice, 0, 1),
                limit: small(&dice, 1, 2),
                broken: dice.chance(15),
            });
        }
        let builds = (1..=dice.between(1, 6)).map(|n| build(&dice, n, &pools));
        let builds = builds.collect();
        let runners = if two { 2 } else { 1 };
        let most = if dice.chance(10) { 0 } else { 8 };
        let events = (0..dice.below(most + 1)).map(|_| {
            let at = dice.span(Duration::ZERO, Duration::from_mins(8));
            (at, happening(&dice, runners))
        });
        let mut events: Vec<_> = events.collect();
        events.sort_by_key(|(at, _)| *at);
        let abandoned = dice.chance(8);
        let clocks = if abandoned || dice.chance(10) {
            Clocks {
                boot: Duration::from_mins(3),
                idle: Duration::from_mins(3),
                ..Clocks::default()
            }
        } else {
            long_clocks()
        };
        Self {
            seed,
            runners,
            pools,
            builds,
            events,
            mishap: None,
            clocks,
            abandoned,
        }
    }
}

/// Clocks that end no machine within a history: what is leaked is seen.
fn long_clocks() -> Clocks {
    Clocks {
        boot: Duration::from_hours(100),
        idle: Duration::from_hours(100),
        stage_grace: Duration::from_hours(100),
        ..Clocks::default()
    }
}

fn small(dice: &Dice, least: u64, most: u64) -> u32 {
    u32::try_from(dice.between(least, most)).unwrap_or(u32::MAX)
}

fn build(dice: &Dice, n: u64, pools: &[PoolPlan]) -> BuildPlan {
    let seconds = Duration::from_secs;
    let pool = usize::from(pools.len() > 1 && dice.chance(25));
    let steps = (1..=dice.between(1, 3)).map(|s| {
        let takes = dice.span(
            Duration::ZERO,
            seconds(if dice.chance(30) { 150 } else { 20 }),
        );
        let prints = (1..=dice.below(5)).map(|line| {
            let at = dice.span(Duration::ZERO, takes);
            (at, format!("build {n} step {s} line {line}\n"))
        });
        StepPlan {
            id: StepId::new(format!("step-{n}-{s}")),
            prints: prints.collect(),
            takes,
            ends: if dice.chance(8) {
                StepEndPlan::IsCancelled
            } else {
                StepEndPlan::Exits(i32::from(dice.chance(10)))
            },
        }
    });
    let steps = steps.collect();
    BuildPlan {
        at: dice.span(Duration::ZERO, Duration::from_mins(5)),
        pool: pools[pool].name,
        stage: StageId::new(format!("build-{n}")),
        wait: dice.span(seconds(30), Duration::from_mins(15)),
        steps,
        manners: Manners {
            twice: dice.chance(15),
            impatient: dice.chance(40),
            vanishes_after: dice.chance(12).then(|| dice.below(6)),
            asks_again: dice.chance(30),
        },
    }
}

fn happening(dice: &Dice, runners: usize) -> Happening {
    let seconds = Duration::from_secs;
    let runner = usize::try_from(dice.below(runners as u64)).unwrap_or_default();
    match dice.below(100) {
        0..=27 => Happening::Crash {
            runner,
            calls: dice.between(1, 30),
            side: if dice.chance(50) {
                Side::Before
            } else {
                Side::After
            },
        },
        28..=31 => Happening::SpoilNext,
        32..=34 => Happening::BreakAtClaim,
        35..=46 => Happening::Stop {
            runner,
            calls: dice.between(1, 10),
            span: dice.span(seconds(1), seconds(40)),
        },
        47..=52 => Happening::HandOver { runner },
        53..=58 => Happening::JournalAway(dice.span(seconds(1), seconds(60))),
        59..=68 => Happening::RoughWeather,
        69..=72 => Happening::FairWeather,
        73..=74 => Happening::Reclaim,
        75..=77 => Happening::ReclaimWithNotice,
        78 => Happening::Recommend,
        79..=84 => Happening::KillAgent,
        85..=88 => Happening::HangMachine(dice.span(seconds(5), seconds(200))),
        89..=93 => Happening::RestartAgent,
        94..=96 => Happening::LoseJournal,
        _ => Happening::BreakConnections,
    }
}
