//! A PostgreSQL for tests: a cluster of its own, started here and removed with
//! the test, that can be killed and started again.

mod cluster;
mod programs;

pub use cluster::Cluster;
