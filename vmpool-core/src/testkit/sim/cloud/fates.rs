//! What happens to machines that nobody asked for: they end, are told that they
//! will, fall silent; and since when.

use std::time::Duration;

use super::{Cloud, NOTICE};
use crate::id::MachineId;
use crate::notice::{Notice, NoticeKind};

impl Cloud {
    /// A machine ends without being asked to: `why` is for a person.
    pub(in crate::testkit::sim) fn lose(&self, id: &MachineId, why: &str) {
        {
            let now = self.clock.now();
            let mut inner = self.inner.lock();
            let Some(machine) = inner.machines.get_mut(id) else {
                return;
            };
            if machine.gone.is_some() {
                return;
            }
            machine.gone = Some(now);
            inner.harmed.insert(id.clone());
            inner.dead.entry(id.clone()).or_insert(now);
        }
        self.trace.say(format_args!("cloud loses {id}: {why}"));
        self.link.kill(id, why);
    }

    /// Says something of a machine's end to the machine.
    pub(in crate::testkit::sim) fn notice(&self, id: &MachineId, kind: NoticeKind) {
        let at = self.clock.now();
        let ends = kind == NoticeKind::SpotInterruption;
        if ends {
            let noticed = &mut self.inner.lock().noticed;
            noticed.entry(id.clone()).or_insert(at);
        }
        self.trace.say(format_args!("{id} is told of {kind:?}"));
        let notice = Notice {
            kind,
            at,
            acts_at: ends.then(|| at.after(NOTICE)),
            action: "terminate".to_owned(),
        };
        self.link.notice(id, &notice);
    }

    /// For how long it is known to the machine that it ends.
    pub(in crate::testkit::sim) fn noticed_for(&self, id: &MachineId) -> Option<Duration> {
        let since = *self.inner.lock().noticed.get(id)?;
        Some(self.clock.now().since(since))
    }

    /// A machine's agent dies, and the provider does not notice.
    pub(in crate::testkit::sim) fn kill(&self, id: &MachineId) {
        {
            let now = self.clock.now();
            let mut inner = self.inner.lock();
            inner.harmed.insert(id.clone());
            inner.dead.entry(id.clone()).or_insert(now);
        }
        self.trace.say(format_args!("the agent of {id} dies"));
        self.link.kill(id, "its agent was killed");
    }

    /// From now on a machine answers nobody, or does again.
    pub(in crate::testkit::sim) fn hang(&self, id: &MachineId, hangs: bool) {
        {
            let mut inner = self.inner.lock();
            let now = self.clock.now();
            let changed = if hangs {
                inner.hanging.insert(id.clone(), now).is_none()
            } else {
                inner.hanging.remove(id).is_some()
            };
            if !changed {
                return;
            }
        }
        let what = if hangs { "hangs" } else { "answers again" };
        self.trace.say(format_args!("{id} {what}"));
        self.link.hang(id, hangs);
    }

    /// How long a machine has not answered, if it is dead or hangs.
    pub(in crate::testkit::sim) fn dead_for(&self, id: &MachineId) -> Option<Duration> {
        let inner = self.inner.lock();
        let since = *inner.dead.get(id).or_else(|| inner.hanging.get(id))?;
        Some(self.clock.now().since(since))
    }

    /// Its agent was killed: its clocks don't run any more.
    pub(in crate::testkit::sim) fn was_killed(&self, id: &MachineId) -> bool {
        self.inner.lock().dead.contains_key(id)
    }

    /// Something was done to a machine that may cost its stage.
    pub(in crate::testkit::sim) fn harm(&self, id: &MachineId) {
        self.inner.lock().harmed.insert(id.clone());
    }

    /// The next machine that is to be prepared can't be.
    pub(in crate::testkit::sim) fn spoil_next(&self) {
        self.inner.lock().to_spoil += 1;
    }

    /// A machine is to be prepared: whether it can't be.
    pub(in crate::testkit::sim) fn is_spoiled(&self, id: &MachineId) -> bool {
        let mut inner = self.inner.lock();
        if inner.to_spoil > 0 && inner.spoiled.insert(id.clone()) {
            inner.to_spoil -= 1;
            inner.harmed.insert(id.clone());
        }
        inner.spoiled.contains(id)
    }

    pub(in crate::testkit::sim) fn was_harmed(&self, id: &MachineId) -> bool {
        self.inner.lock().harmed.contains(id)
    }
}
