//! The JSON that the incumbent's agent takes and gives, for both ends of it.
//!
//! Names and shapes are the incumbent's. How its program reads and writes JSON
//! is in [`decode()`] and [`encode()`]; what the fields mean is in their
//! documentation. Nothing here waits, looks at anything, or decides.
//!
//! Invariants:
//! - a field that is missing, `null` or empty reads the same, and is not
//!   written;
//! - no `Debug` form shows a value: all of these may carry secrets (P11).

#[macro_use]
mod shape;
mod answers;
mod decode;
mod encode;
mod setup;
mod step;

pub use answers::{
    DestroyAnswer, DestroyRequest, Failure, Graph, Health, MintAnswer, MintFailure, MintRequest,
    OsStats, Output, Point, PollRequest, PollStepAnswer, StreamRequest, SuspendRequest,
};
pub use decode::{DecodeError, decode, reader};
pub use encode::encode;
pub use setup::{
    File, HostVolume, LogConfig, MtlsConfig, Network, SanitizeConfig, SetupRequest, TempVolume,
    TiConfig, Volume,
};
pub use step::{
    AnnotationsConfig, Auth, Device, Junit, ProcessConfig, Run, RunTest, RunTests,
    StartStepRequest, StepKind, StepStatusTarget, TestReport, VolumeMount, WantedOutput,
    WorkloadIdentity,
};

#[cfg(test)]
mod tests;
