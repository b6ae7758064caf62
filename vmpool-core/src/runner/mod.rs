//! The whole runner without wires: pools, stages, steps, ownership.
