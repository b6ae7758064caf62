//! What an operator can do with a running `vmpool serve`: the commands, and the
//! HTTP routes that the incumbent lacks, against the real program.

#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/fleet.rs"]
mod fleet;
mod hold;
mod http;
mod logs;
mod pools;
mod several;
mod stages;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/support.rs"]
mod support;
#[path = "../pool/tools.rs"]
mod tools;
