//! Names of things. Every id is a type of its own, so that a stage's id can't
//! be handed where a machine's is meant.
//!
//! Text ids share their text (`Arc<str>`): a clone is a reference count, which
//! keeps the claim path free of copies.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text of an id that arrives from outside, in bytes.
pub const MAX_ID_LEN: usize = 256;

/// An id that came from outside and can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// No text at all.
    #[error("{kind} is empty")]
    Empty {
        /// Which id was read.
        kind: &'static str,
    },
    /// Longer than [`MAX_ID_LEN`].
    #[error("{kind} has {len} bytes, at most {MAX_ID_LEN} are allowed")]
    TooLong {
        /// Which id was read.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A control character would break logs, tags and file names.
    #[error("{kind} has a control character at byte {at}")]
    Control {
        /// Which id was read.
        kind: &'static str,
        /// Where.
        at: usize,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes text that this deployment or its provider made.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Takes text from outside.
            ///
            /// # Errors
            /// Empty, longer than [`MAX_ID_LEN`], or with control characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if text.is_empty() {
                    return Err(IdError::Empty { kind: $kind });
                }
                if text.len() > MAX_ID_LEN {
                    return Err(IdError::TooLong { kind: $kind, len: text.len() });
                }
                if let Some(at) = text.find(char::is_control) {
                    return Err(IdError::Control { kind: $kind, at });
                }
                Ok(Self(text.into()))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Self::new(String::deserialize(from)?))
            }
        }
    };
}

text_id!(
    /// One machine, by the provider's own id (`i-0abc…`, `local-…`).
    MachineId,
    "machine id"
);
text_id!(
    /// One order: the durable intent to get machines.
    OrderId,
    "order id"
);
text_id!(
    /// One stage, by the caller's id. A stage id gets one machine, ever.
    StageId,
    "stage id"
);
text_id!(
    /// One step of a stage, by the caller's id; unique within its stage.
    StepId,
    "step id"
);
text_id!(
    /// A pool of one deployment.
    PoolName,
    "pool name"
);
text_id!(
    /// The deployment's name, as machines are tagged with it.
    Owner,
    "owner"
);
text_id!(
    /// A random id made once, beside the CA: two deployments of one name differ in it.
    DeploymentId,
    "deployment id"
);

text_id!(
    /// One runner, by a random id that it keeps beside its state: a restart is the same runner.
    RunnerId,
    "runner id"
);

impl RunnerId {
    /// A fresh, random runner id.
    pub fn fresh() -> Self {
        Self::new(uuid::Uuid::new_v4().simple().to_string())
    }
}

impl OrderId {
    /// A fresh order id; sorts by the time it was made.
    pub fn fresh() -> Self {
        #[cfg(any(test, feature = "testkit"))]
        if let Some(counted) = counted::next() {
            return Self::new(format!("order-{counted}"));
        }
        Self::new(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl DeploymentId {
    /// A fresh, random deployment id.
    pub fn fresh() -> Self {
        Self::new(uuid::Uuid::new_v4().simple().to_string())
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A reign over a pool. Durable before its first use, raised at each runner
    /// start and take-over to `max(last + 1, Unix ms)`; agents refuse a lower one.
    Term,
    u64
);
number!(
    /// Which try of an order this is, from 1; the next begins only when the last is settled.
    Attempt,
    u32
);
number!(
    /// A journal row's version, from 1; each change raises it by one.
    Version,
    u64
);

impl Version {
    /// The version that a row gets by its next change.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Order ids by number, for simulations: each of them has a thread to itself,
/// and replays byte for byte.
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        static LAST: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// While it lives, this thread's fresh order ids are counted from 1.
    #[derive(Debug)]
    pub(crate) struct Counted(());

    /// Begins to count.
    pub(crate) fn begin() -> Counted {
        LAST.set(Some(0));
        Counted(())
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            LAST.set(None);
        }
    }

    pub(super) fn next() -> Option<u64> {
        let next = LAST.get()? + 1;
        LAST.set(Some(next));
        Some(next)
    }
}
