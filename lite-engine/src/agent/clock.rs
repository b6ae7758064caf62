//! The machine's time, as the rules read it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use vmpool_core::Clock;
use vmpool_core::agent::{BootId, Moment};

/// When the machine began in the present boot: at the first start of its agent.
///
/// Not at the system's boot, because a machine may be a process of a host that
/// has been up for months. Until the agent starts, the OS's own timer watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Birth {
    pub(super) boot: BootId,
    /// By the system's monotonic clock, which stands still while it sleeps.
    at: Duration,
}

impl Birth {
    /// This moment, as that of a machine whose agent starts for the first time.
    pub(super) fn now(boot: BootId) -> Self {
        Self {
            boot,
            at: monotonic(),
        }
    }
}

/// Tells the time since the machine's birth.
#[derive(Clone, Debug)]
pub(super) struct MachineClock {
    birth: Birth,
    wall: Clock,
}

impl MachineClock {
    pub(super) fn new(birth: Birth) -> Self {
        Self {
            birth,
            wall: Clock::system(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let up = monotonic().saturating_sub(self.birth.at);
        Moment {
            up,
            at: self.wall.now(),
        }
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
