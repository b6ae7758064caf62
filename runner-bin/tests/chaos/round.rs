//! A round: its runners, its builds, and the blows that fall on them; then calm,
//! in which all must come to its end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::caller::{BuildEnd, Caller};
use super::check;
use super::chronicle::{Chronicle, Tally};
use super::database::Database;
use super::runner::Runner;
use super::schedule::{Blow, BuildPlan, MachineHarm, Schedule};
use super::site::Site;

/// When all builds are over, nothing is left within this time.
const EMPTY_WITHIN: Duration = Duration::from_secs(90);

/// When the runners are gone, too, nothing at all is left within this time.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// What all who take part in a round share.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) schedule: Schedule,
    pub(crate) site: Site,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) database: Option<Database>,
}

/// What a round came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    /// Where its evidence is, if it was kept.
    pub(crate) kept: Option<PathBuf>,
    /// The end of what each runner said.
    pub(crate) said: Vec<String>,
    pub(crate) builds: usize,
    /// Builds that ended well.
    pub(crate) well: usize,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

/// Plays a round to its end.
pub(crate) async fn play(schedule: Schedule, database: Option<Database>, keep: bool) -> Report {
    let site = Site::new(&schedule, database.as_ref().map(|it| it.url.clone()));
    let chronicle = Arc::new(Chronicle::begin(site.path()));
    fs::write(site.path().join("schedule"), format!("{schedule:#?}")).expect("write a file");
    let round = Arc::new(Round {
        schedule,
        site,
        chronicle,
        database,
    });
    let (ends, runners) = round.clone().storm().await;
    round.calm(runners).await;
    check::all(&round, &ends).await;
    let round = Arc::into_inner(round).expect("all who took part are gone");
    round.report(&ends, keep)
}

impl Round {
    /// The database was not there for some time since then.
    pub(crate) fn database_was_away_since(&self, since: Instant) -> bool {
        let database = self.database.as_ref();
        database.is_some_and(|it| it.was_away_since(since))
    }

    /// All builds, and all blows.
    async fn storm(self: Arc<Self>) -> (Vec<(BuildPlan, BuildEnd)>, Vec<Runner>) {
        let calm = CancellationToken::new();
        let mut runners = JoinSet::new();
        for (number, blows) in self.schedule.runners.iter().enumerate() {
            let runner = Runner::start(self.clone(), number);
            runners.spawn(runner.course(blows.clone(), calm.clone()));
        }
        let mut blows = JoinSet::new();
        blows.spawn(self.clone().harm_machines());
        if let Some(database) = self.database.clone() {
            let course = database.course(self.schedule.database.clone(), self.chronicle.clone());
            blows.spawn(course);
        }
        let (mut builds, turns) = (
            JoinSet::new(),
            Arc::new(Semaphore::new(self.schedule.at_once)),
        );
        for (n, plan) in self.schedule.builds.iter().enumerate() {
            let caller = Caller {
                round: self.clone(),
                plan: plan.clone(),
                first: n,
            };
            let turns = turns.clone();
            builds.spawn(async move {
                let _turn = turns.acquire().await.expect("it is never closed");
                caller.run().await
            });
        }
        let ends = builds.join_all().await;
        blows.join_all().await;
        calm.cancel();
        (ends, runners.join_all().await)
    }

    async fn harm_machines(self: Arc<Self>) {
        for Blow { at, what } in self.schedule.machines.clone() {
            sleep_until((self.chronicle.begun() + at).into()).await;
            let MachineHarm { part, nth } = what;
            let targets = self.site.targets(part);
            match targets.get(nth % targets.len().max(1)) {
                Some(target) => {
                    self.chronicle.harmed(&target.machine, part);
                    // It may have ended this very moment.
                    let _ = kill(Pid::from_raw(target.pid), Signal::SIGKILL);
                }
                None => self
                    .chronicle
                    .say(format_args!("there is no {part:?} to kill")),
            }
        }
    }

    /// The runners are told to keep no machine, and then to stop.
    async fn calm(&self, mut runners: Vec<Runner>) {
        self.chronicle.say("calm");
        self.site.keep_warm(0);
        for runner in &mut runners {
            runner.stop().await;
            runner.start_again();
        }
        let until = Instant::now() + EMPTY_WITHIN;
        while let Err(left) = self.is_empty(runners.len()).await {
            if Instant::now() > until {
                let left = format!("after {EMPTY_WITHIN:?} of calm there is left: {left}");
                self.chronicle.wrong(format_args!("P1: {left}"));
                break;
            }
            sleep(LOOK).await;
        }
        for runner in &mut runners {
            runner.stop().await;
        }
        drop(runners);
        let until = Instant::now() + GONE_WITHIN;
        while !self.site.processes().is_empty() && Instant::now() < until {
            sleep(LOOK).await;
        }
        self.chronicle.say("over");
    }

    /// Whether nothing is left but so many runners; else what is.
    async fn is_empty(&self, runners: usize) -> Result<(), String> {
        let processes = self.site.processes();
        if processes.len() > runners {
            return Err(format!("{processes:#?}"));
        }
        let rows = check::unfinished(&self.site).await;
        if !rows.is_empty() {
            return Err(rows.join(", "));
        }
        for runner in 0..runners {
            self.site.ledger(runner).await?;
        }
        Ok(())
    }

    fn report(mut self, ends: &[(BuildPlan, BuildEnd)], keep: bool) -> Report {
        let violations = self.chronicle.violations();
        let well = ends.iter().filter(|(_, end)| end.is_well());
        let runners = 0..self.schedule.runners.len();
        let report = Report {
            seed: self.schedule.seed,
            kept: (keep || !violations.is_empty()).then(|| self.site.path().to_owned()),
            said: runners.map(|number| self.site.last_words(number)).collect(),
            builds: ends.len(),
            well: well.count(),
            tally: self.chronicle.tally(),
            took: self.chronicle.elapsed(),
            violations,
        };
        if report.kept.is_none() {
            self.site.is_no_evidence();
        }
        report
    }
}
