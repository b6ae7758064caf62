//! `vmpool serve`, the real program, over HTTP: builds go on whatever happens to it.

mod amazon;
mod builds;
#[path = "../site/cloud.rs"]
mod cloud;
mod doctor;
mod ends;
#[path = "../site/fleet.rs"]
mod fleet;
mod incumbent;
mod input;
mod lost;
mod peers;
mod proxy;
mod reload;
mod restarts;
#[path = "../site/support.rs"]
mod support;
mod templates;
mod upgrades;
