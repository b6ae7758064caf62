//! The reconciler: the journal held against what the provider has (P1).
