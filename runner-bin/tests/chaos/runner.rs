//! A runner of a round: a real process that is killed, frozen or told to stop,
//! and comes back.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::round::Round;
use super::schedule::{Blow, RunnerHarm};

/// One that was told to stop ends within this time, on a busy machine too.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// One that ended by itself is started again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A runner, started. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Runner {
    round: Arc<Round>,
    number: usize,
    child: Child,
    /// Of this process of it.
    since: Instant,
}

impl Runner {
    pub(crate) fn start(round: Arc<Round>, number: usize) -> Self {
        Self {
            child: spawn(&round, number),
            since: Instant::now(),
            round,
            number,
        }
    }

    /// Lets all blows fall on it, and keeps it up until `calm`.
    pub(crate) async fn course(
        mut self,
        blows: Vec<Blow<RunnerHarm>>,
        calm: CancellationToken,
    ) -> Self {
        let begun = Instant::from_std(self.round.chronicle.begun());
        for blow in blows {
            // Builds that are over before all has fallen have seen enough.
            let due = calm.run_until_cancelled(sleep_until(begun + blow.at));
            if self.keep_up(due).await.is_none() {
                return self;
            }
            self.suffer(blow.what).await;
        }
        self.keep_up(calm.cancelled()).await;
        self
    }

    /// Starts it again whenever it ends by itself.
    async fn keep_up<T>(&mut self, until: impl Future<Output = T>) -> T {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                done = &mut until => return done,
                ended = self.child.wait() => {
                    self.ended_by_itself(ended.expect("wait for a child"));
                    sleep(AGAIN_AFTER).await;
                    self.start_again();
                }
            }
        }
    }

    /// A runner has no reason to, except that it does not start without its journal.
    fn ended_by_itself(&self, status: ExitStatus) {
        let Self { round, number, .. } = self;
        if self.is_excused() {
            round.chronicle.say(format_args!(
                "runner {number} ended without a database: {status}"
            ));
        } else {
            round
                .chronicle
                .wrong(format_args!("runner {number} ended by itself: {status}"));
        }
    }

    /// It never came up, because it had no database.
    fn is_excused(&self) -> bool {
        let round = &self.round;
        !round.site.came_up(self.number) && round.database_was_away_since(self.since.into_std())
    }

    async fn suffer(&mut self, harm: RunnerHarm) {
        let (round, number) = (self.round.clone(), self.number);
        let chronicle = &round.chronicle;
        match harm {
            RunnerHarm::Kill(back_after) => {
                chronicle.say(format_args!("kill -9 of runner {number}"));
                chronicle.count(|tally| tally.runners_killed += 1);
                self.signal(Signal::SIGKILL);
                self.child.wait().await.expect("wait for a child");
                sleep(back_after).await;
                self.start_again();
            }
            RunnerHarm::Terminate => {
                chronicle.count(|tally| tally.runners_stopped += 1);
                self.stop().await;
                self.start_again();
            }
            RunnerHarm::Freeze(thaws_after) => {
                chronicle.say(format_args!("runner {number} is frozen"));
                chronicle.count(|tally| tally.runners_frozen += 1);
                self.signal(Signal::SIGSTOP);
                sleep(thaws_after).await;
                self.signal(Signal::SIGCONT);
                chronicle.say(format_args!("runner {number} goes on"));
            }
        }
    }

    /// Ends it by SIGTERM, as it should end.
    pub(crate) async fn stop(&mut self) {
        let (round, number) = (self.round.clone(), self.number);
        let chronicle = &round.chronicle;
        chronicle.say(format_args!("SIGTERM to runner {number}"));
        if let Some(pid) = self.child.id() {
            signal(pid, Signal::SIGTERM);
        }
        let Ok(status) = timeout(STOPS_WITHIN, self.child.wait()).await else {
            chronicle.wrong(format_args!("runner {number} does not stop"));
            return self.child.kill().await.expect("kill a child");
        };
        let status = status.expect("wait for a child");
        // It may not yet have come to where it takes signals.
        let unheard = status.signal() == Some(Signal::SIGTERM as i32);
        if !status.success() && !unheard && !self.is_excused() {
            chronicle.wrong(format_args!(
                "runner {number} was told to stop and ended by {status}"
            ));
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.round
            .chronicle
            .say(format_args!("runner {} starts again", self.number));
        self.since = Instant::now();
        self.child = spawn(&self.round, self.number);
    }

    fn signal(&self, what: Signal) {
        // One that ended by itself meanwhile is found by whoever waits for it.
        if let Some(pid) = self.child.id() {
            signal(pid, what);
        }
    }
}

fn spawn(round: &Round, number: usize) -> Child {
    let mut command = round.site.command(number);
    command.spawn().expect("start vmpool serve")
}

fn signal(pid: u32, what: Signal) {
    let pid = i32::try_from(pid).expect("a process id");
    kill(Pid::from_raw(pid), what).expect("signal a child");
}
