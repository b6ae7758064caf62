//! The whole runner in simulation: whatever goes wrong, P1 to P9 hold.

mod replay;
mod seeds;
mod show;
mod single_build;
