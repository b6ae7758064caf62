//! Who gets in: every request passes a [`gate`], which says who asks.

#[allow(dead_code, reason = "what answers requests asks it, one after the other")]
mod caller;
mod gate;

#[allow(unused_imports, reason = "what answers requests asks it")]
pub(crate) use caller::{Caller, NotAllowed};
pub(super) use gate::GateLayer;
