//! P8: what many pools ask of one provider's account, in good times and in bad,
//! on paused time.

mod breaker;
mod harness;
mod listings;
mod outage;
mod passes;
mod places;
mod priorities;
mod throttling;
