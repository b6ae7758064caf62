//! What the rules tell of themselves. Nothing here changes them.

use crate::agent::{EndReason, Refusal, Rules, StagePhase, StepEntry};
use crate::id::{StageId, StepId, Term};
use crate::link::{AgentReport, StepReport};

impl Rules {
    /// The highest term accepted.
    pub fn term(&self) -> Option<Term> {
        self.fence.term()
    }

    /// The one stage accepted, and how far it is.
    pub fn stage(&self) -> Option<(&StageId, &StagePhase)> {
        self.fence
            .stage()
            .map(|claim| (&claim.id, self.stage.phase()))
    }

    /// The stage's steps, by id.
    pub fn steps(&self) -> impl Iterator<Item = (&StepId, &StepEntry)> {
        self.steps.iter()
    }

    /// A step that is to be read or waited for. Open to any runner of the
    /// deployment, whatever its term: it changes nothing.
    ///
    /// # Errors
    /// The machine has no such stage, or the stage no such step.
    pub fn attach(&self, stage: &StageId, step: &StepId) -> Result<&StepEntry, Refusal> {
        let claim = self.fence.claim_of(stage)?;
        self.steps.get(step).ok_or_else(|| Refusal::UnknownStep {
            stage: claim.id.clone(),
            step: step.clone(),
        })
    }

    /// Why the machine is ending, if it is.
    pub fn ending(&self) -> Option<&EndReason> {
        self.over.as_ref().map(|over| &over.why)
    }

    /// What the agent says of itself to a runner that connects.
    pub fn report(&self, version: &str) -> AgentReport {
        let phase = self.stage().map(|(_, phase)| phase);
        AgentReport {
            prepared: phase == Some(&StagePhase::Prepared),
            ended: phase.is_some_and(StagePhase::has_ended),
            term: self.term(),
            stage: self.stage().map(|(id, _)| id.clone()),
            steps: self
                .steps()
                .map(|(id, step)| StepReport {
                    id: id.clone(),
                    status: step.outcome().map(|outcome| outcome.status.clone()),
                    log_end: step.log_end(),
                })
                .collect(),
            version: version.to_owned(),
            boot: Vec::new(),
        }
    }
}
