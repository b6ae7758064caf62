//! Carries out what the rules answer: writes, and begins work whose outcome is
//! told to the rules as an event.

use std::collections::VecDeque;
use std::sync::Arc;

use vmpool_core::agent::{Effect, Event, KillWhy, Rules, StepRecord};
use vmpool_core::{StepId, StepOutcome};

use super::engine::{Engine, State};
use super::input::{StageInput, StepInput};
use super::refuse::chain;
use super::returns::{Files, exported};
use super::store::{Setup, StoreError};
use crate::host::{Cancel, RunningStep};

impl Engine {
    /// Carries out effects in their order, then those of what they lead to. An
    /// error means that the fence is not durable; all else was done.
    pub(super) fn carry_out(
        self: &Arc<Self>,
        state: &mut State,
        effects: Vec<Effect>,
    ) -> Result<(), StoreError> {
        let mut durable = Ok(());
        let mut effects = VecDeque::from(effects);
        let mut events = VecDeque::new();
        loop {
            while let Some(effect) = effects.pop_front() {
                if let Effect::SyncFence(fence) = effect {
                    match self.store.write_fence(&fence) {
                        Ok(()) => events.push_back(Event::FenceSynced {
                            revision: fence.revision,
                        }),
                        Err(error) => durable = Err(error),
                    }
                } else {
                    self.carry_out_one(state, effect);
                }
            }
            let Some(event) = events.pop_front() else {
                break;
            };
            effects.extend(state.rules.event(event, self.clock.now()));
        }
        // It was there already.
        state.starting = None;
        self.changed.send_replace(());
        durable
    }

    fn carry_out_one(self: &Arc<Self>, state: &mut State, effect: Effect) {
        match effect {
            Effect::SyncFence(_) => {}
            Effect::RecordStage(record) => {
                if let Err(error) = self.store.write_stage(&record) {
                    tracing::error!(error = chain(&error), "the stage's record");
                }
            }
            Effect::Prepare { .. } => {
                self.spawn(Self::prepare_stage(self.clone(), state.stage.clone()));
            }
            // The host writes it, before the step's program is executed.
            Effect::RecordStep(record) => {
                if let Some((_, recorded)) = &mut state.starting {
                    *recorded = Some(record);
                }
            }
            Effect::Spawn { .. } => {
                let setup = state.setup.clone().unwrap_or_default();
                if let Some((input, Some(record))) = state.starting.take() {
                    self.spawn(Self::run_step(self.clone(), input, record, setup));
                }
            }
            Effect::Kill { step, why } => {
                let how = match why {
                    KillWhy::Cancelled => Cancel::WithGrace,
                    KillWhy::TimedOut => Cancel::OverTime,
                };
                if let Some(Err(error)) = self.host.step(&step).map(|step| step.cancel(how)) {
                    tracing::error!(%step, %error, "end a step");
                }
            }
            Effect::RecordResult { step, outcome } => {
                self.record_result(&state.rules, &step, &outcome);
            }
            Effect::ForgetLog { step, up_to } => {
                let released = self
                    .host
                    .step(&step)
                    .map(|step| self.host.release_log(&step, up_to));
                if let Some(Err(error)) = released {
                    tracing::warn!(%step, %error, "give log space back");
                }
            }
            Effect::CleanUp { .. } => self.spawn(Self::clean_up(self.clone())),
            Effect::EndMachine(why) => {
                tracing::warn!(%why, "the machine ends");
                self.over.send_replace(Some(why));
            }
        }
    }

    fn record_result(&self, rules: &Rules, id: &StepId, outcome: &StepOutcome) {
        let entry = rules
            .stage()
            .and_then(|(stage, _)| rules.attach(stage, id).ok());
        let Some(entry) = entry else { return };
        let record = StepRecord {
            id: id.clone(),
            content: entry.content().clone(),
            started_at: outcome.started_at,
        };
        if let Err(error) = self.host.record_result(&record, outcome) {
            tracing::error!(step = %id, %error, "write a step's result");
        }
    }

    async fn prepare_stage(engine: Arc<Self>, stage: Option<StageInput>) {
        let Some(stage) = stage else {
            let reason = "the agent does not know any more what was asked for".into();
            return engine.event(Event::PrepareFailed { reason });
        };
        let prepared = match engine.host.prepare(stage.plan.clone()).await {
            Ok(workdir) => {
                let setup = stage.setup(workdir);
                engine
                    .store
                    .write_setup(&setup)
                    .map_err(|error| chain(&error))
                    .map(|()| setup)
            }
            Err(error) => Err(chain(&error)),
        };
        engine.event(match prepared {
            Ok(setup) => {
                engine.state.lock().setup = Some(setup);
                Event::Prepared
            }
            Err(reason) => Event::PrepareFailed { reason },
        });
    }

    async fn run_step(engine: Arc<Self>, input: StepInput, record: StepRecord, setup: Setup) {
        let step = record.id.clone();
        let returns = input.returns();
        let mut order = input.order(record, &setup);
        if let Some(returns) = returns {
            let files = Files::of(&engine.host, &step);
            if let Err(error) = files.make(&returns) {
                let reason = format!("make the folder for what the step returns: {error}");
                return engine.event(Event::StepNotStarted { step, reason });
            }
            order.env.extend(exported(&engine.host, &setup.env));
            order.env.extend(files.environment(&returns));
            order.secrets_file = Some(files.secrets_file(&returns));
        }
        match engine.host.start(order).await {
            Ok(running) => {
                engine.event(Event::StepStarted { step });
                Self::follow_to_end(engine, running).await;
            }
            Err(error) => {
                let reason = chain(&error);
                engine.event(Event::StepNotStarted { step, reason });
            }
        }
    }

    pub(super) async fn follow_to_end(engine: Arc<Self>, step: RunningStep) {
        // An error means that the host is closed: the next agent follows it.
        if let Ok(outcome) = step.wait().await {
            engine.event(Event::StepEnded {
                step: step.id().clone(),
                outcome,
            });
        }
    }

    async fn clean_up(engine: Arc<Self>) {
        let cleaned = engine.host.clean_up().await.map_err(|error| chain(&error));
        let forgotten = || engine.store.remove_setup().map_err(|error| chain(&error));
        engine.event(match cleaned.and_then(|()| forgotten()) {
            Ok(()) => Event::CleanedUp,
            Err(reason) => Event::CleanUpFailed { reason },
        });
    }
}
