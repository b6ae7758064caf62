//! The course of a step from its start to its end, as a pure state machine.
//!
//! ```text
//!            time is up, cancel                  grace is over, cancel again
//! Running ───────────────────────► Terminating ───────────────────────────────┐
//!    │                                  │ no process left                      ▼
//!    │ main process ended               └──────────────► over ◄──────────── Killing
//!    └────────────────────────────────────────────────────────────────────────▲
//!                                                       no process left, or given up
//! ```
//!
//! The status tells what became of the main process: once it has ended by
//! itself, ending what it left behind changes nothing. A detached step goes on
//! after its main process as long as anything of it runs.

use std::time::{Duration, Instant};

use vmpool_core::StepStatus;

/// Processes that SIGKILL does not end (they sleep in the kernel, or belong to
/// another user) are waited for this long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// No grace is longer than this.
const GRACE_MAX: Duration = Duration::from_hours(1);

/// What the holder has to do about the processes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Leave them alone.
    Wait,
    /// Ask them to end, each once, with SIGTERM.
    Terminate,
    /// End them with SIGKILL.
    Kill,
    /// They don't end; the step is over all the same.
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    Terminating { kill_at: Instant },
    Killing { give_up_at: Instant },
}

#[derive(Debug)]
pub(super) struct Course {
    phase: Phase,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    grace: Duration,
    detached: bool,
    /// How the main process ended, or why it has to.
    status: Option<StepStatus>,
}

impl Course {
    /// A step that has not begun.
    pub(super) fn new(timeout: Option<Duration>, grace: Duration, detached: bool) -> Self {
        let grace = grace.min(GRACE_MAX);
        Self {
            phase: Phase::Running,
            timeout,
            deadline: None,
            grace,
            detached,
            status: None,
        }
    }

    /// The step begins; its time runs from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
    }

    /// The main process ended in this way.
    pub(super) fn main_ended(&mut self, now: Instant, status: StepStatus) {
        self.status.get_or_insert(status);
        if matches!(self.phase, Phase::Running) && !self.detached {
            self.kill(now);
        }
    }

    /// Somebody wants the step to end, and says what its status shall be.
    pub(super) fn end(&mut self, now: Instant, why: StepStatus) {
        if matches!(self.phase, Phase::Running) {
            self.terminate(now, why);
        }
    }

    /// Somebody wants the step to end without grace.
    pub(super) fn end_at_once(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Killing { .. }) {
            self.status.get_or_insert(StepStatus::Cancelled);
            self.kill(now);
        }
    }

    /// What is to be done now, while processes are left.
    pub(super) fn tick(&mut self, now: Instant) -> Act {
        if self.wake_at().is_some_and(|at| now >= at) {
            match self.phase {
                Phase::Running => self.terminate(now, StepStatus::TimedOut),
                Phase::Terminating { .. } => self.kill(now),
                Phase::Killing { .. } => return Act::GiveUp,
            }
        }
        match self.phase {
            Phase::Running => Act::Wait,
            Phase::Terminating { .. } => Act::Terminate,
            Phase::Killing { .. } => Act::Kill,
        }
    }

    /// When [`Course::tick`] will answer something else, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => self.deadline,
            Phase::Terminating { kill_at } => Some(kill_at),
            Phase::Killing { give_up_at } => Some(give_up_at),
        }
    }

    /// How the step ended, once no process is left.
    pub(super) fn status(&self) -> StepStatus {
        self.status.clone().unwrap_or_else(|| StepStatus::Lost {
            reason: "the end of its process was not seen".into(),
        })
    }

    fn terminate(&mut self, now: Instant, why: StepStatus) {
        self.status.get_or_insert(why);
        self.phase = Phase::Terminating {
            kill_at: now + self.grace,
        };
    }

    fn kill(&mut self, now: Instant) {
        self.phase = Phase::Killing {
            give_up_at: now + GIVE_UP_AFTER,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const EXITED: StepStatus = StepStatus::Exited { code: 3 };

    fn course(detached: bool) -> (Course, Instant) {
        let now = Instant::now();
        let mut course = Course::new(Some(10 * SECOND), 5 * SECOND, detached);
        course.begin(now);
        (course, now)
    }

    #[test]
    fn a_step_ends_with_its_main_process_and_what_is_left_is_killed() {
        let (mut course, now) = course(false);
        assert_eq!(course.tick(now), Act::Wait);
        course.main_ended(now, EXITED);
        assert_eq!(course.tick(now), Act::Kill);
        course.end(now, StepStatus::Cancelled);
        assert_eq!(course.tick(now), Act::Kill);
        assert_eq!(course.status(), EXITED);
    }

    #[test]
    fn p10_over_time_it_is_asked_then_forced_then_given_up() {
        let (mut course, now) = course(false);
        let expected = [
            (9, Act::Wait),
            (10, Act::Terminate),
            (14, Act::Terminate),
            (15, Act::Kill),
            (24, Act::Kill),
            (25, Act::GiveUp),
        ];
        for (seconds, act) in expected {
            assert_eq!(
                course.tick(now + seconds * SECOND),
                act,
                "after {seconds} s"
            );
        }
        assert_eq!(course.status(), StepStatus::TimedOut);
    }

    #[test]
    fn the_first_reason_to_end_counts() {
        let (mut course, now) = course(false);
        course.end(now, StepStatus::TimedOut);
        course.end(now, StepStatus::Cancelled);
        course.end_at_once(now);
        assert_eq!(course.status(), StepStatus::TimedOut);
    }

    #[test]
    fn a_main_process_that_heeds_the_request_leaves_the_others_their_grace() {
        let (mut course, now) = course(false);
        course.end(now, StepStatus::Cancelled);
        course.main_ended(now, EXITED);
        assert_eq!(course.tick(now), Act::Terminate);
        assert_eq!(course.tick(now + 5 * SECOND), Act::Kill);
        assert_eq!(course.status(), StepStatus::Cancelled);
    }

    #[test]
    fn cancelling_at_once_uses_force_with_or_without_a_request_before() {
        for asked_before in [false, true] {
            let (mut course, now) = course(false);
            if asked_before {
                course.end(now, StepStatus::Cancelled);
            }
            course.end_at_once(now);
            assert_eq!(course.tick(now), Act::Kill);
            assert_eq!(course.status(), StepStatus::Cancelled);
        }
    }

    #[test]
    fn cancelling_again_does_not_prolong_the_grace_or_the_end() {
        let (mut course, now) = course(false);
        course.end(now, StepStatus::Cancelled);
        course.end(now + 4 * SECOND, StepStatus::Cancelled);
        assert_eq!(course.tick(now + 5 * SECOND), Act::Kill);
        course.end_at_once(now + 14 * SECOND);
        assert_eq!(course.tick(now + 15 * SECOND), Act::GiveUp);
    }

    #[test]
    fn a_detached_step_goes_on_after_its_main_process_and_keeps_its_status() {
        let (mut course, now) = course(true);
        course.main_ended(now, EXITED);
        assert_eq!(course.tick(now), Act::Wait);
        course.end(now, StepStatus::Cancelled);
        assert_eq!(course.tick(now), Act::Terminate);
        assert_eq!(course.status(), EXITED);
    }

    #[test]
    fn a_timeout_beyond_the_end_of_time_is_none() {
        let mut course = Course::new(Some(Duration::MAX), SECOND, false);
        course.begin(Instant::now());
        assert_eq!(course.wake_at(), None);
    }
}
