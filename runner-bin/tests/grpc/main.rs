//! The gRPC API of the real program: the same semantics as the library's, and
//! builds that go on whatever becomes of runner and client.

mod client;
mod conformance;
mod errors;
mod examples;
mod fallback;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/fleet.rs"]
mod fleet;
mod served;
mod streams;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/support.rs"]
mod support;
