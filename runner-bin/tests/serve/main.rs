//! `vmpool serve`, the real program, over HTTP: builds go on whatever happens to it.

mod amazon;
mod builds;
mod doctor;
mod ends;
mod fleet;
mod incumbent;
mod input;
mod lost;
mod peers;
mod reload;
mod restarts;
mod support;
mod templates;
mod upgrades;
