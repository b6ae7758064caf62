//! A build's caller, as a Harness delegate behaves: setup, steps, destroy; it
//! asks again with the same ids whenever nobody answers or it is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until, timeout};
use vmpool_core::{Clock, Timestamp};

use super::round::Round;
use super::schedule::BuildPlan;
use super::script::StepPlan;
use super::site::POOL;
use super::support::{Answered, ask, step};

/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The exit code that stands for a step which could not be carried out.
const NOT_CARRIED_OUT: i64 = 255;

/// How a build ended for its caller.
#[derive(Debug, Default)]
pub(crate) struct BuildEnd {
    /// The machine that the caller was told.
    pub(crate) machine: Option<String>,
    /// Steps that ended by themselves, in their order, with their exit codes.
    pub(crate) ended: Vec<i64>,
    /// Why not all of them did.
    pub(crate) told: Option<String>,
    /// It was not over by its deadline.
    pub(crate) late: bool,
    /// When it was over.
    pub(crate) at: Timestamp,
}

pub(crate) struct Caller {
    pub(crate) round: Arc<Round>,
    pub(crate) plan: BuildPlan,
    /// The runner that is asked first.
    pub(crate) first: usize,
}

impl Caller {
    pub(crate) async fn run(self) -> (BuildPlan, BuildEnd) {
        let begun = self.round.chronicle.begun() + self.plan.at;
        sleep_until(begun.into()).await;
        let mut end = BuildEnd::default();
        let asked = Instant::now();
        let patience = self.round.schedule.patience;
        if timeout(patience, self.build(&mut end)).await.is_err() {
            end.late = true;
        }
        end.at = Clock::system().now();
        let took = asked.elapsed();
        self.say(format_args!("over after {took:.1?}: {end:?}"));
        (self.plan, end)
    }

    async fn build(&self, end: &mut BuildEnd) {
        end.told = self.work(end).await;
        let destroyed = self.call("/destroy", &json!({"id": self.plan.stage})).await;
        if destroyed.status != 200 || !destroyed.body.is_empty() {
            self.wrong(format_args!("P9: /destroy answered {destroyed:?}"));
        }
        if self.plan.twice
            && let (Some(code), None) = (end.ended.last(), &end.told)
        {
            // What was answered once is answered again after the stage's end (P9).
            let last = self.plan.steps.last().expect("a build has steps");
            let again = self.step(last).await;
            if again != Ok(*code) {
                self.wrong(format_args!(
                    "P9: a step ended by {code}, and then {again:?}"
                ));
            }
        }
    }

    /// Setup and steps. Why that came to no good end.
    async fn work(&self, end: &mut BuildEnd) -> Option<String> {
        let body = json!({"id": self.plan.stage, "pool_id": POOL, "setup_request": {}});
        let set_up = self.call("/setup", &body).await;
        if set_up.status != 200 {
            return Some(format!("/setup: {} {}", set_up.status, set_up.body));
        }
        let machine = set_up.json()["instance_id"].as_str().map(str::to_owned);
        end.machine = machine;
        for step in &self.plan.steps {
            match self.step(step).await {
                Ok(code) => end.ended.push(code),
                Err(told) => return Some(told),
            }
        }
        None
    }

    /// A step's exit code, or why it has none.
    async fn step(&self, plan: &StepPlan) -> Result<i64, String> {
        let script = self.round.site.script(plan);
        let body = step(&plan.stage, &plan.id, &script);
        let answered = self.call("/step", &body).await;
        let told = || format!("/step {}: {} {}", plan.id, answered.status, answered.body);
        if answered.status != 200 {
            return Err(told());
        }
        let ended = answered.json();
        match ended["exit_code"].as_i64().unwrap_or_default() {
            NOT_CARRIED_OUT => Err(told()),
            code if ended["exited"] == true => Ok(code),
            _ => Err(told()),
        }
    }

    /// One call, made once or twice at once.
    async fn call(&self, path: &str, body: &Value) -> Answered {
        if !self.plan.twice {
            return self.insist(path, body, self.first).await;
        }
        let (one, other) = tokio::join!(
            self.insist(path, body, self.first),
            self.insist(path, body, self.first + 1)
        );
        if (one.status, other.status) == (200, 200) && one.body != other.body {
            self.wrong(format_args!(
                "P9: {path}, asked twice at once, answered {} and {}",
                one.body, other.body
            ));
        }
        one
    }

    async fn insist(&self, path: &str, body: &Value, first: usize) -> Answered {
        let ports = self.round.site.ports();
        let mut patience = self.plan.impatient;
        for port in ports.iter().cycle().skip(first) {
            let asked = ask(*port, "POST", path, body.to_string().into());
            let answered = match patience.take() {
                Some(patience) => timeout(patience, asked).await.ok().flatten(),
                None => asked.await,
            };
            match answered {
                Some(answered) if answered.status != 503 => {
                    let Answered { status, body, .. } = &answered;
                    self.say(format_args!("{path}: {status} {body}"));
                    return answered;
                }
                Some(answered) => self.say(format_args!("{path} at {port}: {}", answered.body)),
                None => {}
            }
            sleep(AGAIN_AFTER).await;
        }
        unreachable!("a round has a runner, so it is asked for ever")
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        let stage = &self.plan.stage;
        self.round.chronicle.say(format_args!("{stage}: {what}"));
    }

    fn wrong(&self, what: std::fmt::Arguments<'_>) {
        let stage = &self.plan.stage;
        self.round.chronicle.wrong(format_args!("{stage}: {what}"));
    }
}
