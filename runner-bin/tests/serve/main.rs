//! `vmpool serve`, the real program, over HTTP: builds go on whatever happens to it.

mod builds;
mod ends;
mod input;
mod support;
mod upgrades;
