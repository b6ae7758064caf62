//! The incumbent's JSON: what its callers send, and what they are told.
//!
//! Names, statuses and both shapes of errors are the incumbent's; unknown
//! fields are passed over as it does. What can't be honoured here is refused
//! with the field's name (P13), and never left out in silence where it would
//! change a step's result. Pure: no call of this module waits or looks at anything.

mod answer;
mod decode;
mod destroy;
mod logs;
mod pool_owner;
mod setup;
mod step;
mod suspend;

pub(super) use answer::Answer;
pub(super) use destroy::DestroyVm;
pub(crate) use logs::LogTarget;
pub(super) use pool_owner::{Owned, fields, pool_owner};
pub(super) use setup::{CompatKeys, MOST_FALLBACKS, MeantSetup, SetUp, SetupVm, set_up};
pub(super) use step::{ExecuteVm, MeantStep, failed, outcome};
pub(super) use suspend::SuspendVm;

#[cfg(test)]
mod tests;
