//! How to embed vmpool and how to extend it, one file a subject:
//!
//! - `embed.rs`: a pool of local machines, one stage, one step;
//! - `provider.rs`: machines from a source of your own;
//! - `executor.rs`: steps run in a way of your own;
//! - `events.rs`: watch what a pool does;
//! - `pipelines/`: files for `vmpool exec`.
//!
//! `cargo run -p examples --example embed` runs one; the tests run them all.
