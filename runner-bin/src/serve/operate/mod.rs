//! What people tell a runner to do with its pools and stages, wherever those
//! are: [`Operation`]s go the way of builds' requests, so that they reach the
//! owner of the pool, or the process that replaces this one.
//!
//! Their bodies are the messages of `vmpool.v1`, on their way and back. Who
//! enters by gRPC or by HTTP is answered by the same functions, those of
//! [`Service`](super::grpc::Service).

mod ask;
mod log;
mod operation;
mod stages;

pub(super) use self::ask::ask;
pub(super) use self::log::{Parts, no_such_step, parts};
pub(super) use self::operation::{Operation, PATHS};
pub(crate) use self::stages::listed;
pub(super) use self::stages::one;
