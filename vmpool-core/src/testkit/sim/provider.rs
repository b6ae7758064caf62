//! The cloud as one life of a runner sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::cloud::WINDOW;
use super::life::Life;
use super::world::World;
use crate::clock::Timestamp;
use crate::id::{MachineId, Owner, PoolName, Term};
use crate::journal::Journal;
use crate::machine::MachineState;
use crate::provider::{
    Capabilities, ErrorKind, LaunchOrder, LaunchOutcome, Listing, OrderDraft, Provider,
    ProviderError, Terminating,
};
use crate::secret::SecretBytes;

pub(super) struct SimProvider {
    world: Arc<World>,
    life: Arc<Life>,
    /// A person asks, by a sweep, and no runner.
    sweeps: bool,
    heard: Mutex<Heard>,
}

/// What the provider has said that a runner must heed (P8).
#[derive(Debug, Default)]
struct Heard {
    /// Until when calls of a kind shall not be made, and how many were since.
    throttled: BTreeMap<&'static str, (Timestamp, u32)>,
    /// So many times, that a launch can't work, in each reign over a pool: who
    /// takes a pool does not know what was tried before.
    broken: BTreeMap<(PoolName, Term), u32>,
}

/// Calls that may have been let through already when the provider throttles.
const UNDER_WAY: u32 = 2;
/// Launches of a pool that can't work, in one reign: those that were under way at once.
const MOST_BROKEN: u32 = 2;

/// What becomes of a call, other than being carried out and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// Carried out, and the answer is lost.
    AnswerLost,
    /// Not carried out, and nobody knows.
    Lost,
    /// Carried out, and never answered.
    Hangs,
    /// Not carried out, and the provider says so.
    Refused(ErrorKind),
}

impl SimProvider {
    pub(super) fn new(world: &Arc<World>, life: &Arc<Life>, sweeps: bool) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            life: life.clone(),
            sweeps,
            heard: Mutex::default(),
        })
    }

    /// A call is made: not while the provider has asked for peace (P8).
    fn heeds(&self, call: &'static str) {
        self.world.cloud.count(call);
        let mut heard = self.heard.lock();
        let now = self.world.clock.now();
        if let Some((until, calls)) = heard.throttled.get_mut(call)
            && now < *until
        {
            *calls += 1;
            if *calls > UNDER_WAY {
                let runner = self.life.name();
                self.world.trace.wrong(format_args!(
                    "P8: {runner} calls {call} {calls} times while it is throttled"
                ));
            }
        }
    }

    /// The runner hears of a refusal.
    fn hears(&self, call: &'static str, kind: ErrorKind) {
        if let ErrorKind::Throttled {
            retry_after: Some(span),
        } = kind
        {
            let until = self.world.clock.now().after(span);
            self.heard.lock().throttled.insert(call, (until, 0));
        }
    }

    /// The runner hears that what it ordered can't work (P8).
    async fn hears_broken(&self, order: &LaunchOrder) {
        let pool = self.world.cloud.pool_of(order);
        let now = self.world.clock.now();
        let pools = self.world.journal.rows().pools(now).await;
        let mut pools = pools.unwrap_or_default().into_iter();
        let Some(ruled) = pools.find(|ruled| Some(&ruled.pool) == pool.as_ref()) else {
            return;
        };
        let mut heard = self.heard.lock();
        let times = heard.broken.entry((ruled.pool, ruled.term)).or_default();
        *times += 1;
        if *times > MOST_BROKEN {
            let runner = self.life.name();
            self.world.trace.wrong(format_args!(
                "P8: {runner} launches what can't work {times} times"
            ));
        }
    }

    /// Thrown for each call.
    fn fate(&self, fails: u64, launch: bool) -> Fate {
        let (dice, weather) = (&self.world.dice, self.world.weather());
        if dice.chance(fails) {
            let mut kinds = vec![
                ErrorKind::Transient,
                ErrorKind::Throttled { retry_after: None },
                ErrorKind::Throttled {
                    retry_after: Some(Duration::from_secs(3)),
                },
            ];
            if launch {
                kinds.extend([ErrorKind::NoCapacity, ErrorKind::Quota, ErrorKind::Unknown]);
            }
            return Fate::Refused(dice.pick(&kinds).unwrap_or(ErrorKind::Transient));
        }
        if dice.chance(weather.answer_lost) {
            return if dice.chance(50) {
                Fate::AnswerLost
            } else {
                Fate::Lost
            };
        }
        if dice.chance(weather.hangs) {
            return Fate::Hangs;
        }
        Fate::Good
    }

    fn is_broken(&self, order: &LaunchOrder) -> bool {
        let cloud = &self.world.cloud;
        cloud
            .pool_of(order)
            .is_some_and(|pool| cloud.is_broken(&pool))
    }

    async fn takes_its_time(&self) {
        let (least, most) = (Duration::from_millis(50), Duration::from_secs(2));
        tokio::time::sleep(self.world.dice.span(least, most)).await;
    }

    async fn carry_out_launch(&self, order: &LaunchOrder, fails: bool) -> LaunchOutcome {
        let attempted = format!("launch {} machines", order.count);
        let mut outcome = LaunchOutcome::default();
        let fate = if fails {
            Fate::Refused(ErrorKind::Transient)
        } else if self.is_broken(order) {
            Fate::Refused(ErrorKind::BadSpec)
        } else {
            self.fate(self.world.weather().launch_fails, true)
        };
        if let Fate::Refused(kind) = fate {
            self.takes_its_time().await;
            let error = ProviderError::new(kind, attempted);
            outcome.refused.push((order.count, error));
            return outcome;
        }
        if fate != Fate::Lost {
            let known = self.world.journal.rows().order(&order.id).await;
            if !matches!(known, Ok(Some(row)) if row.attempt == order.attempt) {
                let id = &order.id;
                let wrong = format_args!("P1: order {id} is called and not in the journal");
                self.world.trace.wrong(wrong);
            }
            let partial = self.world.dice.chance(self.world.weather().launch_partial);
            let most = if partial {
                u32::try_from(self.world.dice.below(u64::from(order.count))).unwrap_or_default()
            } else {
                order.count
            };
            outcome.machines = self.world.cloud.launch(order, most);
        }
        self.takes_its_time().await;
        match fate {
            Fate::Hangs => std::future::pending().await,
            Fate::Good | Fate::Refused(_) => {
                let got = u32::try_from(outcome.machines.len()).unwrap_or(u32::MAX);
                let refused = order.count.saturating_sub(got);
                if refused > 0 {
                    let error = ProviderError::new(ErrorKind::NoCapacity, attempted);
                    outcome.refused.push((refused, error));
                }
                outcome
            }
            Fate::AnswerLost | Fate::Lost => LaunchOutcome {
                unknown: Some((
                    order.count,
                    ProviderError::new(ErrorKind::Transient, attempted),
                )),
                ..LaunchOutcome::default()
            },
        }
    }

    async fn carry_out_list(&self, owner: &Owner, fails: bool) -> Result<Listing, ProviderError> {
        let attempted = format!("list the machines of {owner}");
        let begun_at = self.world.clock.now();
        let weather = self.world.weather();
        let fate = if fails {
            Fate::Refused(ErrorKind::Transient)
        } else {
            self.fate(weather.call_fails, false)
        };
        let mut machines = self.world.cloud.list(owner);
        let complete = !self.world.dice.chance(weather.listing_incomplete);
        if !complete {
            let shown = self.world.dice.below(machines.len() as u64 + 1);
            machines.truncate(usize::try_from(shown).unwrap_or_default());
        }
        self.takes_its_time().await;
        match fate {
            Fate::Good => Ok(Listing {
                begun_at,
                complete,
                machines,
            }),
            Fate::Hangs => std::future::pending().await,
            Fate::Refused(kind) => Err(ProviderError::new(kind, attempted)),
            Fate::AnswerLost | Fate::Lost => {
                Err(ProviderError::new(ErrorKind::Transient, attempted))
            }
        }
    }

    async fn carry_out_terminate(
        &self,
        ids: &[MachineId],
        fails: bool,
    ) -> Result<Terminating, ProviderError> {
        let attempted = format!("terminate {} machines", ids.len());
        let fate = if fails {
            Fate::Refused(ErrorKind::Transient)
        } else {
            self.fate(self.world.weather().call_fails, false)
        };
        let mut answer = Terminating::default();
        let carried_out = match fate {
            Fate::Good | Fate::AnswerLost | Fate::Hangs => ids.len(),
            // A call for many may have ended some of them.
            Fate::Refused(_) if ids.len() > 1 => ids.len() / 2,
            Fate::Refused(_) | Fate::Lost => 0,
        };
        for id in &ids[..carried_out] {
            self.check_ending(id).await;
            if self.world.cloud.terminate(id) {
                answer.gone.push(id.clone());
            }
        }
        self.takes_its_time().await;
        match fate {
            Fate::Good => Ok(answer),
            Fate::Hangs => std::future::pending().await,
            Fate::Refused(kind) => Err(ProviderError::new(kind, attempted)),
            Fate::AnswerLost | Fate::Lost => {
                Err(ProviderError::new(ErrorKind::Transient, attempted))
            }
        }
    }

    /// What is ended was written down as ending, or is nobody's.
    async fn check_ending(&self, id: &MachineId) {
        if self.sweeps {
            return;
        }
        let Ok(Some(row)) = self.world.journal.rows().machine(id).await else {
            return;
        };
        if row.state != MachineState::Terminating && row.state.occupies_slot() {
            self.world.trace.wrong(format_args!(
                "P4: {id} is ended, and the journal has it as {}",
                row.state.as_str()
            ));
        }
    }
}

#[async_trait]
impl Provider for SimProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_batch: 5,
            suspend: false,
            spot: true,
            consistency_window: WINDOW,
            spec: "sim".into(),
            places: Vec::new(),
        }
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        Ok(self.world.cloud.render(draft.tags, draft.count))
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        let what = format!("launch {} for {}", order.count, order.id);
        let entered = self.life.enter(&what).await;
        self.heeds("launch");
        let outcome = async {
            if entered.twice {
                drop(self.carry_out_launch(order, false).await);
            }
            self.carry_out_launch(order, entered.fails).await
        };
        let outcome = self.life.effect(outcome).await;
        for (_, error) in &outcome.refused {
            self.hears("launch", error.kind);
            if error.kind == ErrorKind::BadSpec {
                self.hears_broken(order).await;
            }
        }
        let heard = format!(
            "{} machines, {} refusals, {} unknown",
            outcome.machines.len(),
            outcome.refused.len(),
            outcome.unknown.as_ref().map_or(0, |(count, _)| *count)
        );
        self.life.leave(entered, &heard).await;
        outcome
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let entered = self.life.enter("list").await;
        self.heeds("list");
        let listing = self.carry_out_list(owner, entered.fails);
        let listing = self.life.effect(listing).await;
        if let Err(error) = &listing {
            self.hears("list", error.kind);
        }
        let heard = match &listing {
            Ok(listing) => format!(
                "{} machines{}",
                listing.machines.len(),
                if listing.complete { "" } else { ", incomplete" }
            ),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        listing
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        let entered = self.life.enter(&format!("terminate {ids:?}")).await;
        self.heeds("terminate");
        let answer = async {
            if entered.twice {
                drop(self.carry_out_terminate(ids, false).await);
            }
            self.carry_out_terminate(ids, entered.fails).await
        };
        let answer = self.life.effect(answer).await;
        if let Err(error) = &answer {
            self.hears("terminate", error.kind);
        }
        let heard = match &answer {
            Ok(answer) => format!("{:?} are gone", answer.gone),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        answer
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        let state = self.world.cloud.state(id)?;
        Some(format!("the cloud has it as {state:?}"))
    }
}
