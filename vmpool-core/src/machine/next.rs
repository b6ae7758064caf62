//! The transition function of a machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// The provider has it; its agent is not connected yet.
    Booting,
    /// Its agent is connected and it waits for a stage (P6).
    Ready,
    /// A stage has it, for ever.
    Claimed,
    /// It is being put to sleep.
    Suspending,
    /// It sleeps.
    Suspended,
    /// It is being woken.
    Resuming,
    /// Its stage is over, and a person keeps it to look at it.
    Held,
    /// It gets no stage any more; what it still holds is saved.
    Draining,
    /// The provider was told to end it, and is told again until it says so.
    Terminating,
    /// The provider said that it is over.
    Gone,
    /// The provider said that it is over, and we had not asked.
    Lost,
}

impl MachineState {
    /// Every state, in the order of a machine's life.
    pub const ALL: [Self; 11] = [
        Self::Booting,
        Self::Ready,
        Self::Claimed,
        Self::Suspending,
        Self::Suspended,
        Self::Resuming,
        Self::Held,
        Self::Draining,
        Self::Terminating,
        Self::Gone,
        Self::Lost,
    ];

    /// It counts against the pool's limit (P7): all but gone and lost do.
    pub fn occupies_slot(self) -> bool {
        !matches!(self, Self::Gone | Self::Lost)
    }

    /// The name in events, statuses and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Resuming => "resuming",
            Self::Held => "held",
            Self::Draining => "draining",
            Self::Terminating => "terminating",
            Self::Gone => "gone",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MachineEvent {
    /// Its agent is connected, with a report that fits the journal.
    Connected,
    /// A stage gets it.
    Claim,
    /// It shall go: released, sick, old, failed, over its deadline.
    Drain,
    /// It shall sleep.
    Suspend,
    /// The provider put it to sleep.
    Slept,
    /// It shall wake.
    Resume,
    /// Drained: the provider is told to end it.
    Terminate,
    /// The provider said `terminated`, or proved it absent.
    ProviderSaysGone,
    /// Its agent is connected and has a stage that the journal does not know:
    /// it served that before the journal was lost.
    Adopt,
    /// It counted as over, and the provider shows it alive.
    ShownAlive,
    /// Its stage ends, and a person keeps it.
    Hold,
}

impl MachineEvent {
    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::Connected,
        Self::Claim,
        Self::Drain,
        Self::Suspend,
        Self::Slept,
        Self::Resume,
        Self::Terminate,
        Self::ProviderSaysGone,
        Self::Adopt,
        Self::ShownAlive,
        Self::Hold,
    ];
}

/// What must follow a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Offer it to the requests that wait, else keep it ready.
    Offer,
    /// It has left the ready ones: look whether another must be ordered.
    Refill,
    /// The stage that has it ends now, if it has not ended.
    EndStage,
    /// Tell the provider to end it, until it says the word.
    CallTerminate,
    /// Close its connection and forget it.
    Forget,
}

/// An event that is not possible in a machine's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a machine that is {state} can't take the event {event:?}")]
pub struct Refused {
    /// The state, which stays.
    pub state: MachineState,
    /// The event.
    pub event: MachineEvent,
}

/// The state that `event` leads to from `state`, and what must follow.
///
/// # Errors
/// The event is not possible; nothing changes.
pub fn next(
    state: MachineState,
    event: MachineEvent,
) -> Result<(MachineState, &'static [Effect]), Refused> {
    use Effect::{CallTerminate, EndStage, Forget, Offer, Refill};
    use MachineEvent as E;
    use MachineState as S;

    Ok(match (state, event) {
        (S::Booting | S::Resuming, E::Connected) => (S::Ready, &[Offer]),
        (S::Ready, E::Claim) => (S::Claimed, &[Refill]),
        (S::Booting, E::Adopt) => (S::Claimed, &[]),
        (S::Ready, E::Suspend) => (S::Suspending, &[Refill]),
        (S::Suspending, E::Slept) => (S::Suspended, &[]),
        (S::Suspended, E::Resume) => (S::Resuming, &[]),

        (S::Claimed, E::Drain) => (S::Draining, &[EndStage]),
        (S::Claimed, E::Hold) => (S::Held, &[EndStage]),
        (S::Held, E::Drain) => (S::Draining, &[]),
        (S::Booting | S::Ready | S::Suspending | S::Suspended | S::Resuming, E::Drain) => {
            (S::Draining, &[Refill])
        }
        // What is shown alive after its end is told to end again (P1).
        (S::Draining, E::Terminate) | (S::Gone | S::Lost, E::ShownAlive) => {
            (S::Terminating, &[CallTerminate])
        }

        (S::Terminating, E::ProviderSaysGone) => (S::Gone, &[Forget, Refill]),
        (S::Claimed, E::ProviderSaysGone) => (S::Lost, &[EndStage, Forget, Refill]),
        (
            S::Booting
            | S::Ready
            | S::Suspending
            | S::Suspended
            | S::Resuming
            | S::Held
            | S::Draining,
            E::ProviderSaysGone,
        ) => (S::Lost, &[Forget, Refill]),

        _ => return Err(Refused { state, event }),
    })
}
