//! The provider against an EC2 with its documented semantics and its faults,
//! by the real SDK over HTTP.

mod ending;
mod launching;
mod listing;
mod policy;
mod pool;
mod preparing;
mod prices;
mod support;
mod templates;
