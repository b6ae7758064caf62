//! The agent: what a machine starts from ([`Bootstrap`]), how it joins the
//! deployment ([`enrolment`]), and the rules it keeps ([`Rules`]).
//!
//! The rules are a pure state machine: no clock, no I/O, no tasks. `lite-engine`
//! drives it with real processes, the simulation with simulated ones, so what
//! is simulated is what runs. They keep the agent's part of the promises: one
//! stage, ever, and no lower term (P2); no step runs twice (P4); every step
//! ends (P10); a machine that nobody rules ends itself (P1); a refused call
//! changes nothing (P13).
//!
//! # Driving the rules
//!
//! ```text
//!  runners ──Call──►┌───────┐──Effect──► disk: SyncFence, RecordStage, RecordStep, RecordResult
//!                   │ Rules │
//!   driver ──Event─►└───────┘──Effect──► work: Prepare, Spawn, Kill, CleanUp, ForgetLog
//!      ▲                                   │
//!      └─────────── its outcome ───────────┘
//! ```
//!
//! One owner holds the [`Rules`] (a task, or a lock that is not held over an
//! await) and keeps to this:
//!
//! 1. **Start** with [`Rules::restore`], from what is found on disk; on a new
//!    machine nothing is. Carry out its effects before anything is served.
//! 2. **Effects are carried out in their order, before the next call or
//!    event.** The four that write are done then; the others are only begun,
//!    and what becomes of them is told as an [`Event`]:
//!
//!    | effect | its outcome |
//!    |---|---|
//!    | [`Effect::SyncFence`] | [`Event::FenceSynced`], whose effects may begin the preparation |
//!    | [`Effect::Prepare`] | [`Event::Prepared`] or [`Event::PrepareFailed`] |
//!    | [`Effect::Spawn`] | [`Event::StepStarted`] or [`Event::StepNotStarted`], then [`Event::StepEnded`] |
//!    | [`Effect::Kill`] | [`Event::StepEnded`] |
//!    | [`Effect::CleanUp`] | [`Event::CleanedUp`] or [`Event::CleanUpFailed`] |
//!    | the rest | none |
//!
//! 3. **A call is answered after its effects.** If its `SyncFence` fails, tell
//!    nothing and answer with an error: a repeat asks for the write again. All
//!    other effects are carried out all the same. `Open`, `Renew`, `Acknowledge`
//!    and `Cancel` are answered then. The others wait for what they have begun,
//!    and so do their repeats, because each piece of work is asked for once:
//!
//!    | call | waits until | and is answered |
//!    |---|---|---|
//!    | `Prepare` | [`StagePhase::Prepared`] | done |
//!    | | [`StagePhase::PrepareFailed`] | an error with its reason |
//!    | | [`StagePhase::has_ended`] | [`Refusal::StageEnded`] |
//!    | `Cleanup` | [`StagePhase::Ended`] | done |
//!    | | [`StagePhase::Unclean`] | an error with its reason |
//!    | `Start`, attaching | [`StepEntry::outcome`] | its log, then the result |
//! 4. **Do what the rules can't.** They see digests ([`Content`]), so input
//!    that can't be carried out is refused before the call is put to them
//!    (P13), and the driver keeps the setup of the last accepted `Prepare` for
//!    [`Effect::Prepare`], and the step of a `Start` for its [`Effect::Spawn`].
//! 5. **Tick** at [`Rules::next_wake`], read anew after each call and event.
//!
//! Steps over their own time are ended by their holders, which know it; the
//! rules own the stage's deadline and the dead-man's clocks. How a step ended is
//! what [`Effect::RecordResult`] says: the rules may correct what its holder
//! told, so nothing else is to be answered.

mod bootstrap;
mod clocks;
mod content;
pub mod enrolment;
mod exchange;
mod fence;
mod refusal;
mod restore;
mod rules;
mod stage;
mod steps;
mod views;

pub use bootstrap::{Bootstrap, Clocks};
pub use clocks::EndReason;
pub use content::{Content, Digest};
pub use exchange::{Call, Effect, Event, KillWhy, Moment, StageRecord, StepRecord};
pub use fence::{BootId, FenceRecord, StageClaim};
pub use refusal::{Refusal, RefusalKind, reason};
pub use restore::{Found, FoundStep, Remains};
pub use rules::{Rules, Settings};
pub use stage::StagePhase;
pub use steps::{Doom, MAX_REASON_LEN, StepEntry, StepPhase};
