//! Which of the two protocols has the machine: the one that was first asked to
//! set up a stage. The other is refused from then on, because a machine is one
//! stage's.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Who may have a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// vmpool's own.
    Ours,
    /// The incumbent's.
    Incumbents,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "vmpool's own protocol",
            Self::Incumbents => "the incumbent's protocol",
        })
    }
}

/// The machine has a stage of the other protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine has a stage that was set up by {holder}")]
pub(crate) struct Taken {
    holder: Protocol,
}

/// The claim of one machine. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<Mutex<Option<Protocol>>>);

impl Claim {
    /// The claim of a machine that this protocol has, or none yet.
    pub(crate) fn of(holder: Option<Protocol>) -> Self {
        Self(Arc::new(Mutex::new(holder)))
    }

    /// Takes the machine, unless the other protocol has it. May be repeated.
    pub(crate) fn take(&self, protocol: Protocol) -> Result<(), Taken> {
        let holder = *self.0.lock().get_or_insert(protocol);
        if holder == protocol {
            Ok(())
        } else {
            Err(Taken { holder })
        }
    }

    /// Whether this protocol has the machine.
    pub(crate) fn is_of(&self, protocol: Protocol) -> bool {
        *self.0.lock() == Some(protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_the_first_to_ask_has_the_machine() {
        let claim = Claim::default();
        assert!(!claim.is_of(Protocol::Ours));
        claim.take(Protocol::Incumbents).expect("nobody has it");
        claim
            .clone()
            .take(Protocol::Incumbents)
            .expect("it is theirs");
        let taken = claim.take(Protocol::Ours).expect_err("it is taken");
        assert!(taken.to_string().contains("the incumbent's"), "{taken}");
    }
}
