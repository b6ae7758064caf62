//! Who gets in: the real program on the addresses, with the certificates and the
//! tokens that an operator gives it.

mod authority;
mod caller;
mod crowd;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/fleet.rs"]
mod fleet;
mod others;
mod policy;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/support.rs"]
mod support;
mod tls;
mod tokens;
