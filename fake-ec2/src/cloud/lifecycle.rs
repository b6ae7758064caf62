//! How instances change: the one place that moves them from state to state,
//! and what follows for their volumes, interfaces and spot requests.
//!
//! ```text
//!              ┌───────────────── start ─────────────────┐
//!              ▼                                         │
//! launch ─► pending ─► running ─► stopping ─► stopped ───┤
//!              │          │           │                  │
//!              └──────────┴───────────┴─► shutting-down ◄┘ ─► terminated
//! ```

use jiff::{SignedDuration, Timestamp};

use super::agenda::{Due, What};
use super::context::Context;
use super::{Instance, Market, Reason, Span, State};
use crate::catalog::Place;
use crate::clock::iso;
use crate::error::ApiError;
use crate::machines::{Birth, Cause, Effect};

/// Machines that a launch of many kinds has decided on, but not made.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    pub(crate) market: Market,
    pub(crate) count: u32,
}

impl Context<'_> {
    fn due(&mut self, at: Timestamp, instance: &str, what: What) {
        self.agenda.put(
            at,
            Due {
                account: self.account.to_owned(),
                region: self.place.name.clone(),
                instance: instance.to_owned(),
                what,
            },
        );
    }

    /// A launched instance will run, or fail.
    pub(crate) fn boots(&mut self, instance: &str) {
        let at = self.timing.pending.after(self.now, self.rng);
        self.due(at, instance, What::Run);
    }

    /// Terminates, unless it is on its way already.
    pub(crate) fn terminate(&mut self, id: &str, reason: Reason) {
        let Some(instance) = self.truth(id) else {
            return;
        };
        if matches!(instance.state, State::ShuttingDown | State::Terminated) {
            return;
        }
        if let Some(request) = instance.spot_request.clone() {
            let reclaimed = reason.code.starts_with("Server.");
            self.close_spot_request(&request, reclaimed);
        }
        self.change(id, |instance| {
            instance.state = State::ShuttingDown;
            instance.reason = Some(reason);
        });
        self.effects.push(Effect::Terminate {
            instance: id.to_owned(),
        });
        let at = self.timing.shutting_down.after(self.now, self.rng);
        self.due(at, id, What::Terminated);
    }

    /// Stops a running instance.
    pub(crate) fn stop(&mut self, id: &str, hibernate: bool, reason: Reason) {
        self.change(id, |instance| {
            instance.state = State::Stopping;
            instance.reason = Some(reason);
            instance.hibernated = hibernate;
        });
        self.effects.push(Effect::Stop {
            instance: id.to_owned(),
            hibernate,
        });
        let at = self.timing.stopping.after(self.now, self.rng);
        self.due(at, id, What::Stopped);
    }

    /// Starts a stopped instance.
    ///
    /// # Errors
    /// `InsufficientInstanceCapacity`: the hardware went to others meanwhile.
    pub(crate) fn start(&mut self, id: &str) -> Result<(), ApiError> {
        let Some(instance) = self.truth(id) else {
            return Ok(());
        };
        let (kind, zone, market) = (
            instance.instance_type.clone(),
            instance.zone.clone(),
            instance.market,
        );
        if self.room(&kind, &zone, market) == 0 {
            return Err(ApiError::no_capacity(&kind, &zone));
        }
        let now = self.now;
        self.change(id, |instance| {
            instance.state = State::Pending;
            instance.reason = Some(Reason::pending());
            instance.launched = now;
        });
        self.boots(id);
        Ok(())
    }

    /// The spot market takes an instance back: notice now, the end later.
    pub(crate) fn reclaim(&mut self, id: &str, notice: SignedDuration) {
        let Some(instance) = self.truth(id) else {
            return;
        };
        if instance.market != Market::Spot || !instance.state.counted() {
            return;
        }
        let at = self.now + notice;
        if let Some(request) = instance.spot_request.clone() {
            self.spot_status(&request, "active", "marked-for-termination");
        }
        self.change(id, |instance| instance.reclaim_at = Some(at));
        self.effects.push(Effect::Notice {
            instance: id.to_owned(),
            at,
        });
        self.due(at, id, What::Reclaim);
    }

    /// The guest powered itself off.
    pub(crate) fn powered_off(&mut self, id: &str) {
        let Some(instance) = self.truth(id) else {
            return;
        };
        if instance.state != State::Running {
            return;
        }
        if instance.shutdown_terminates {
            self.terminate(id, Reason::from_inside());
        } else {
            self.stop(id, false, Reason::from_inside());
        }
    }

    /// Something is due. A state that has moved on since makes it nothing.
    pub(crate) fn happen(&mut self, id: &str, what: What) {
        let Some(state) = self.truth(id).map(|instance| instance.state) else {
            return;
        };
        match (what, state) {
            (What::Run, State::Pending) => self.run(id),
            (What::Terminated, State::ShuttingDown) => self.end(id),
            (What::Stopped, State::Stopping) => {
                self.change(id, |instance| {
                    instance.state = State::Stopped;
                    instance.public_address = None;
                });
            }
            (What::Reclaim, State::Pending | State::Running) => {
                self.terminate(id, Reason::spot(self.now));
            }
            (What::Untag, State::Terminated) => {
                self.change(id, |instance| instance.tags.clear());
            }
            (What::Forget, State::Terminated) => {
                self.region.instances.remove(id);
                self.region.consoles.remove(id);
            }
            _ => {}
        }
    }

    fn run(&mut self, id: &str) {
        let Some(instance) = self.truth(id) else {
            return;
        };
        if let Some(code) = instance.doomed.clone() {
            // A failed launch goes to terminated at once; nothing ever ran.
            self.terminate(id, Reason::failed_launch(&code));
            return;
        }
        let first = !self.region.consoles.contains_key(id);
        let cause = match (first, instance.hibernated) {
            (true, _) => Cause::Launched,
            (false, true) => Cause::Resumed,
            (false, false) => Cause::Started,
        };
        let birth = Birth {
            instance: id.to_owned(),
            account: self.account.to_owned(),
            region: self.place.name.clone(),
            zone: instance.zone.clone(),
            instance_type: instance.instance_type.clone(),
            image: instance.image.clone(),
            private_address: instance.private_address,
            user_data: instance.user_data.clone(),
            cause,
        };
        let public = self
            .region
            .interfaces
            .get(&instance.interface)
            .and_then(|interface| interface.public_address);
        self.change(id, |instance| {
            instance.state = State::Running;
            instance.public_address = public;
            instance.reason = None;
            instance.hibernated = false;
        });
        let line = format!("{} fake-ec2: {id} is on\n", iso(self.now));
        self.console(id, line.as_bytes());
        self.effects.push(Effect::Start(Box::new(birth)));
    }

    /// The instance is gone; what was to go with it goes, the rest is left.
    fn end(&mut self, id: &str) {
        let Some(instance) = self.truth(id).cloned() else {
            return;
        };
        for volume in instance.volumes.values() {
            let Some(volume) = self.region.volumes.get_mut(volume) else {
                continue;
            };
            volume.attached = None;
            if volume.delete_on_termination {
                let gone = volume.id.clone();
                self.region.volumes.remove(&gone);
            }
        }
        if let Some(interface) = self.region.interfaces.get_mut(&instance.interface) {
            interface.attached = None;
            interface.public_address = None;
            if interface.delete_on_termination {
                self.region.interfaces.remove(&instance.interface);
                self.addresses.remove(&instance.private_address);
            }
        }
        self.change(id, |instance| {
            instance.state = State::Terminated;
            instance.public_address = None;
            instance.volumes.clear();
        });
        for (after, what) in [
            (self.timing.terminated_tagged, What::Untag),
            (self.timing.terminated_visible, What::Forget),
        ] {
            let at = Span::exactly(after).after(self.now, self.rng);
            self.due(at, id, what);
        }
    }

    fn close_spot_request(&mut self, id: &str, reclaimed: bool) {
        let cancelled = self
            .region
            .spot_requests
            .get(id)
            .is_some_and(|request| request.state == "cancelled");
        let status = if reclaimed {
            "instance-terminated-no-capacity"
        } else {
            "instance-terminated-by-user"
        };
        self.spot_status(id, if cancelled { "cancelled" } else { "closed" }, status);
    }

    pub(crate) fn spot_status(&mut self, id: &str, state: &'static str, status: &'static str) {
        if let Some(request) = self.region.spot_requests.get_mut(id) {
            request.state = state;
            request.status = status;
            request.updated = self.now;
        }
    }

    /// Adds to what the guest printed; the last 64 KB are kept, as EC2 does.
    pub(crate) fn console(&mut self, id: &str, text: &[u8]) {
        const KEPT: usize = 64 * 1024;
        let console = self.region.consoles.entry(id.to_owned()).or_default();
        console.extend_from_slice(text);
        let over = console.len().saturating_sub(KEPT);
        console.drain(..over);
    }

    /// How many more machines of a kind there is hardware for.
    pub(crate) fn room(&self, instance_type: &str, zone: &str, market: Market) -> u32 {
        self.room_beside(instance_type, zone, market, &[])
    }

    /// The same, with some spoken for already.
    pub(crate) fn room_beside(
        &self,
        instance_type: &str,
        zone: &str,
        market: Market,
        planned: &[Planned],
    ) -> u32 {
        self.limits
            .capacity
            .iter()
            .filter(|rule| rule.fits(instance_type, zone, market))
            .map(|rule| {
                let taken = self.count(|instance| {
                    instance.state.on_hardware()
                        && rule.fits(&instance.instance_type, &instance.zone, instance.market)
                });
                let spoken_for: u32 = planned
                    .iter()
                    .filter(|plan| rule.fits(&plan.instance_type, &plan.zone, plan.market))
                    .map(|plan| plan.count)
                    .sum();
                rule.most.saturating_sub(taken).saturating_sub(spoken_for)
            })
            .min()
            .unwrap_or(u32::MAX)
    }

    /// vCPUs that a market's quota still has.
    pub(crate) fn vcpus_left(&self, market: Market) -> u32 {
        let used: u32 = self
            .region
            .instances
            .values()
            .map(|instance| instance.current().as_ref())
            .filter(|instance: &&Instance| instance.market == market && instance.state.counted())
            .map(|instance| instance.vcpus)
            .sum();
        self.vcpu_quota(market).saturating_sub(used)
    }

    /// A market's quota.
    pub(crate) fn vcpu_quota(&self, market: Market) -> u32 {
        match market {
            Market::OnDemand => self.limits.on_demand_vcpus,
            Market::Spot => self.limits.spot_vcpus,
        }
    }

    /// Private addresses that a zone's subnet still has.
    pub(crate) fn addresses_left(&self, zone: &str) -> u32 {
        let taken = self
            .region
            .interfaces
            .values()
            .filter(|interface| interface.zone == zone)
            .count();
        crate::catalog::USABLE.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// Takes the next free address of a zone's subnet.
    pub(crate) fn take_address(&mut self, zone: &crate::catalog::Zone) -> std::net::Ipv4Addr {
        let start = self.rng.u32(..crate::catalog::USABLE);
        let address = (0..crate::catalog::USABLE)
            .map(|step| {
                let nth = (start + step) % crate::catalog::USABLE;
                self.place.private_address(zone, nth)
            })
            .find(|address| !self.addresses.contains(address))
            .unwrap_or_else(|| self.place.private_address(zone, start));
        self.addresses.insert(address);
        address
    }

    pub(crate) fn public_address(private: std::net::Ipv4Addr) -> std::net::Ipv4Addr {
        Place::public_address(private)
    }

    fn count(&self, which: impl Fn(&Instance) -> bool) -> u32 {
        let count = self
            .region
            .instances
            .values()
            .filter(|instance| which(instance.current()))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn truth(&self, id: &str) -> Option<&Instance> {
        Some(self.region.instances.get(id)?.current())
    }
}
