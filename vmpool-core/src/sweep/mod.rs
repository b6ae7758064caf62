//! Sweep: what the provider has under our tag that nobody should have any more (P1).
