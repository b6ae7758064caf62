//! Many rounds, side by side: how many and from which seed the environment
//! says; what came of them is printed.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use vmpool_store::testkit::Cluster;

use super::chronicle::Tally;
use super::database::Database;
use super::round::{self, Report};
use super::schedule::{Aim, JournalKind, Schedule};

/// How many rounds, if not those of the usual test run.
const ROUNDS: &str = "VMPOOL_CHAOS_ROUNDS";
/// The seed of the first of them; the next ones follow it.
const SEED: &str = "VMPOOL_CHAOS_SEED";
/// How many at the same time.
const LANES: &str = "VMPOOL_CHAOS_LANES";

/// Which processes of machines are killed.
const AIM: &str = "VMPOOL_CHAOS_AIM";

/// How many builds a crowd has.
const CROWD: &str = "VMPOOL_CHAOS_CROWD";

/// Whether the directories of good rounds are kept, too.
const KEEP: &str = "VMPOOL_CHAOS_KEEP";

/// A round that is not over after this time has got stuck itself.
const STUCK: Duration = Duration::from_secs(600);

/// Plays the rounds.
///
/// # Panics
/// A promise was broken.
pub(crate) fn run(journal: JournalKind, usually: u64) {
    let rounds: u64 = setting(ROUNDS, usually);
    let first: u64 = setting(SEED, 1);
    let lanes: u64 = setting(LANES, 4);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let bad = runtime.block_on(async {
        let next = Arc::new(AtomicU64::new(first));
        let (done, mut reports) = mpsc::channel(1);
        let mut playing = JoinSet::new();
        for lane in 0..lanes.min(rounds) {
            let end = first + rounds;
            playing.spawn(play(journal, lane, next.clone(), end, done.clone()));
        }
        drop(done);
        let mut summary = Summary::new();
        while let Some((seed, report)) = reports.recv().await {
            summary.add(seed, report.as_ref());
            let so_far = format!("{}/{rounds}", summary.rounds);
            match report {
                Some(report) => tell(&so_far, journal, &report),
                None => println!("{so_far} seed {seed}: the test itself failed, see above"),
            }
        }
        // A lane that could not even begin fails here.
        playing.join_all().await;
        println!("{journal:?}: {summary}");
        summary.bad
    });
    assert!(bad.is_empty(), "seeds of rounds that went wrong: {bad:?}");
}

/// One round of many builds at once, whose runner is killed every few seconds.
///
/// # Panics
/// A promise was broken, or a build did not end well.
pub(crate) fn crowd(usually: u32, at_once: u32) {
    let builds: u32 = setting(CROWD, usually);
    let schedule = Schedule::crowd(setting(SEED, 1), builds, at_once);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(round::play(schedule, None, setting(KEEP, false)));
    tell("1/1", JournalKind::Sqlite, &report);
    println!(
        "  again: cargo xtask chaos --crowd {builds} --seed {}",
        report.seed
    );
    assert!(report.violations.is_empty(), "see above");
    assert_eq!(report.well, report.builds, "builds that ended well");
    assert!(report.tally.runners_killed > 0, "the runner lived on");
}

/// A lane: one round after the other, on one server.
async fn play(
    journal: JournalKind,
    lane: u64,
    next: Arc<AtomicU64>,
    end: u64,
    done: mpsc::Sender<(u64, Option<Report>)>,
) {
    let server = match journal {
        JournalKind::Sqlite => None,
        JournalKind::Postgres => {
            let server = spawn_blocking(Cluster::start).await;
            Some(Arc::new(server.expect("PostgreSQL starts")))
        }
    };
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            break;
        }
        let database = server.clone().map(|server| {
            let name = format!("lane_{lane}_seed_{seed}");
            spawn_blocking(move || Database::new(server, &name))
        });
        let database = match database {
            Some(made) => Some(made.await.expect("the server makes a database")),
            None => None,
        };
        // A task of its own, so that a test that fails by itself is one round's failure.
        let mut round = JoinSet::new();
        let schedule = Schedule::from_seed(seed, journal, setting(AIM, Aim::Everything));
        round.spawn(round::play(schedule, database, setting(KEEP, false)));
        let report = match tokio::time::timeout(STUCK, round.join_next()).await {
            Ok(Some(Ok(report))) => Some(report),
            _ => None,
        };
        if done.send((seed, report)).await.is_err() {
            break;
        }
    }
    // Dropping it waits for its end.
    let ended = spawn_blocking(move || drop(server)).await;
    ended.expect("the server ends");
}

fn tell(so_far: &str, journal: JournalKind, report: &Report) {
    let Report {
        seed,
        builds,
        well,
        took,
        tally,
        ..
    } = report;
    println!("{so_far} seed {seed}: {well} of {builds} builds ended well in {took:.1?}; {tally}");
    if let Some(kept) = &report.kept {
        println!("  all of it: {}", kept.display());
    }
    if report.violations.is_empty() {
        return;
    }
    for violation in &report.violations {
        println!("  WRONG {violation}");
    }
    for (number, said) in report.said.iter().enumerate() {
        println!("  the last words of runner {number}:\n{said}");
    }
    let journal = match journal {
        JournalKind::Sqlite => "sqlite",
        JournalKind::Postgres => "postgres",
    };
    let aim = env::var(AIM).map_or_else(|_| String::new(), |aim| format!(" --aim {aim}"));
    println!("  again: cargo xtask chaos --journal {journal} --rounds 1 --seed {seed}{aim}");
}

/// What all rounds came to.
#[derive(Debug)]
struct Summary {
    begun: Instant,
    rounds: u64,
    builds: usize,
    well: usize,
    tally: Tally,
    longest: Duration,
    violations: usize,
    bad: Vec<u64>,
}

impl Summary {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            rounds: 0,
            builds: 0,
            well: 0,
            tally: Tally::default(),
            longest: Duration::ZERO,
            violations: 0,
            bad: Vec::new(),
        }
    }

    fn add(&mut self, seed: u64, report: Option<&Report>) {
        self.rounds += 1;
        let Some(report) = report else {
            self.bad.push(seed);
            return;
        };
        self.builds += report.builds;
        self.well += report.well;
        self.tally += report.tally;
        self.longest = self.longest.max(report.took);
        self.violations += report.violations.len();
        if !report.violations.is_empty() {
            self.bad.push(seed);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds in {:.0?}, the longest {:.1?}; {} builds, {} of them ended well, the others \
             were told why; {}; {} violations in {} rounds",
            self.rounds,
            self.begun.elapsed(),
            self.longest,
            self.builds,
            self.well,
            self.tally,
            self.violations,
            self.bad.len()
        )
    }
}

fn setting<T: FromStr<Err: fmt::Debug>>(name: &str, usual: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().expect("what is set can be read"),
        Err(_) => usual,
    }
}
