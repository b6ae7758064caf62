//! One object for all calls to a provider's account (P8).

/// The budget of calls to one account; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Account {}
