//! What an answer says of the account: is it there, and has it had enough?

use std::time::Duration;

use crate::provider::{ErrorKind, LaunchOutcome, ProviderError};

/// What a call's end means for the calls that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it was to do.
    Fine,
    /// It was answered with a no that is about the thing asked for.
    Refused,
    /// Too many calls, says the provider, and perhaps for how long.
    Throttled(Option<Duration>),
    /// The provider or the network failed.
    Fault,
    /// Nobody waited for the answer any longer.
    Abandoned,
}

impl Verdict {
    /// The provider did its work, whatever it said.
    pub(super) fn is_answer(self) -> bool {
        matches!(self, Self::Fine | Self::Refused)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Refused => "refused",
            Self::Throttled(_) => "throttled",
            Self::Fault => "fault",
            Self::Abandoned => "abandoned",
        }
    }
}

impl From<ErrorKind> for Verdict {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Throttled { retry_after } => Self::Throttled(retry_after),
            ErrorKind::Transient | ErrorKind::Unknown => Self::Fault,
            ErrorKind::NoCapacity
            | ErrorKind::Quota
            | ErrorKind::Permission
            | ErrorKind::BadSpec
            | ErrorKind::NotFound
            | ErrorKind::Unsupported => Self::Refused,
        }
    }
}

/// What a provider's call answers.
pub trait Answer {
    /// What it says of the account.
    fn verdict(&self) -> Verdict;
}

impl<T> Answer for Result<T, ProviderError> {
    fn verdict(&self) -> Verdict {
        match self {
            Ok(_) => Verdict::Fine,
            Err(error) => error.kind.into(),
        }
    }
}

/// A best effort that can't say why it found nothing.
impl<T> Answer for Option<T> {
    fn verdict(&self) -> Verdict {
        Verdict::Fine
    }
}

impl Answer for LaunchOutcome {
    /// Of several failures the one that holds calls off the longest.
    fn verdict(&self) -> Verdict {
        let refused = self.refused.iter().map(|(_, error)| error.kind);
        let unknown = self.unknown.iter().map(|(_, error)| error.kind);
        let verdicts: Vec<Verdict> = refused.chain(unknown).map(Verdict::from).collect();
        let throttled = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Throttled(until) => Some(*until),
            _ => None,
        });
        if let Some(until) = throttled.max() {
            return Verdict::Throttled(until);
        }
        if verdicts.contains(&Verdict::Fault) && self.machines.is_empty() {
            return Verdict::Fault;
        }
        if verdicts.is_empty() {
            Verdict::Fine
        } else {
            Verdict::Refused
        }
    }
}
