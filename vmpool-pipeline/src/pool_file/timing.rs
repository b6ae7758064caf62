//! How long anything of a pool may take, whatever its machines are.

use std::time::Duration;

use super::keys::{CLOCKS, DEADLINES};
use crate::fields::{At, Fields, Reader};

/// A pool's times. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// A machine that nobody enrols ends itself after this.
    pub boot_clock: Option<Duration>,
    /// One without a stage that nobody renews ends itself after this.
    pub idle_clock: Option<Duration>,
    /// One whose stage is over ends itself this long after.
    pub stage_grace: Option<Duration>,
    /// How long anything may take.
    pub deadlines: PoolDeadlines,
    /// A machine is replaced before this age.
    pub max_age: Option<Duration>,
}

/// How long anything of a pool may take. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolDeadlines {
    /// From a launch's first call until it is settled by listings.
    pub launching: Option<Duration>,
    /// From a launch until the agent is connected.
    pub booting: Option<Duration>,
    /// From a claim until the stage is prepared.
    pub prepare: Option<Duration>,
    /// From a release until the machine is terminated, ready or not.
    pub draining: Option<Duration>,
    /// From the first terminate call until the alarm.
    pub terminating: Option<Duration>,
    /// A request waits for a machine at most this long.
    pub acquire: Option<Duration>,
    /// A stage lasts at most this long where its request names nothing.
    pub stage: Option<Duration>,
}

/// The times that a `spec` sets.
pub(super) fn timing(r: &mut Reader, spec: &Fields<'_>) -> Timing {
    let mut timing = Timing {
        max_age: spec.read(r, "max_age", |r, at| r.duration(at)),
        ..Timing::default()
    };
    spec.read(r, "clocks", |r, at| {
        let fields = r.fields(at, &CLOCKS.keys)?;
        timing.boot_clock = fields.read(r, "boot", |r, at| r.duration(at));
        timing.idle_clock = fields.read(r, "idle", |r, at| r.duration(at));
        timing.stage_grace = fields.read(r, "stage_grace", |r, at| r.duration(at));
        Some(())
    });
    if let Some(deadlines) = spec.read(r, "deadlines", deadlines) {
        timing.deadlines = deadlines;
    }
    timing
}

fn deadlines(r: &mut Reader, at: &At<'_>) -> Option<PoolDeadlines> {
    let fields = r.fields(at, &DEADLINES.keys)?;
    let mut read = |key| fields.read(r, key, |r, at| r.duration(at));
    Some(PoolDeadlines {
        launching: read("launching"),
        booting: read("booting"),
        prepare: read("prepare"),
        draining: read("draining"),
        terminating: read("terminating"),
        acquire: read("acquire"),
        stage: read("stage"),
    })
}
