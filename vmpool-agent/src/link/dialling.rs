//! From a machine to an open connection that obeys our term: enrol it the
//! first time, else reconnect, and dial again with capped back-off for as long
//! as that may help.

use std::sync::Arc;
use std::time::SystemTime;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use vmpool_core::agent::enrolment::SERVE_ALPN;
use vmpool_core::{AgentReport, KeyHash, LinkError, Machine, PinError, PinKey, Term};
use vmpool_proto::agent::v1::OpenRequest;

use super::kept::{Kept, Protocol};
use super::renewal::Renewal;
use super::slot::Slot;
use crate::authority::Authority;
use crate::config::LinkConfig;
use crate::dial::{DialError, Dialled, Place, dial, plain};
use crate::enrol::{EnrolError, Enroller};
use crate::executor::wire;
use crate::reason;
use crate::tls::{self, Refusal, ThisMachine};

/// How long dialling goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until the caller drops it.
    Endless,
    /// Until the agent counts as gone.
    Bounded,
}

/// One wish for a connection.
pub(super) struct Dialling<'a> {
    pub(super) authority: &'a Arc<Authority>,
    pub(super) config: &'a LinkConfig,
    pub(super) tracker: &'a TaskTracker,
    pub(super) machine: &'a Machine,
    pub(super) place: Place,
    pub(super) term: Term,
    /// `None`: the machine is enrolled, and must be the one that it was.
    pub(super) pins: Option<&'a dyn PinKey>,
}

/// How long an agent has been out of reach.
struct Wait {
    began: Instant,
    refused_since: Option<Instant>,
}

impl Wait {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            refused_since: None,
        }
    }

    /// One more attempt has failed. Says why the agent counts as gone, if it does.
    fn in_vain(&mut self, nobody_listens: bool, config: &LinkConfig) -> Option<String> {
        let now = Instant::now();
        self.refused_since = nobody_listens.then(|| self.refused_since.unwrap_or(now));
        let LinkConfig {
            gone_after_refused,
            gone_after_silent,
            ..
        } = *config;
        if self
            .refused_since
            .is_some_and(|since| now - since >= gone_after_refused)
        {
            let span = plain(gone_after_refused);
            return Some(format!("nobody listens there for {span}"));
        }
        let span = plain(gone_after_silent);
        (now - self.began >= gone_after_silent).then(|| format!("not reached for {span}"))
    }
}

/// Why one attempt came to nothing.
pub(super) enum Failure {
    /// Dialling again can't mend it.
    Final(LinkError),
    /// It may.
    Passing {
        reason: String,
        nobody_listens: bool,
        other_protocol: bool,
    },
}

impl Failure {
    pub(super) fn passing(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::because(reason::chain(error))
    }

    pub(super) fn because(reason: String) -> Self {
        Self::Passing {
            reason,
            nobody_listens: false,
            other_protocol: false,
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::Passing {
            nobody_listens: error.nobody_listens(),
            other_protocol: error.other_protocol(),
            reason: reason::chain(&error),
        }
    }
}

impl Dialling<'_> {
    pub(super) async fn connect(
        &self,
        slot: &Arc<Slot>,
        patience: Patience,
    ) -> Result<(Arc<Kept>, AgentReport), LinkError> {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(self.config.dial_pause)
            .with_max_delay(self.config.dial_pause_max)
            .with_jitter()
            .without_max_times()
            .build();
        let mut wait = Wait::new();
        loop {
            let (reason, nobody_listens) = match Box::pin(self.attempt(slot)).await {
                Ok(opened) => return Ok(opened),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing {
                    reason,
                    nobody_listens,
                    other_protocol: _,
                }) => (reason, nobody_listens),
            };
            tracing::debug!(machine = %self.machine.id, %reason, "an agent was not reached");
            slot.set_trouble(reason.clone());
            let gone = wait.in_vain(nobody_listens, self.config);
            if let Some(why) = gone.filter(|_| patience == Patience::Bounded) {
                return Err(self.unreachable(format!("{reason}: {why}")));
            }
            sleep(pauses.next().unwrap_or(self.config.dial_pause_max)).await;
        }
    }

    /// Uses the open connection, or makes one. Who dials the same machine
    /// meanwhile has its turn after this attempt.
    async fn attempt(&self, slot: &Arc<Slot>) -> Result<(Arc<Kept>, AgentReport), Failure> {
        let _turn = slot
            .dial()
            .acquire()
            .await
            .expect("the semaphore is never closed");
        if let Some(kept) = slot.current() {
            let report = self.open(&kept).await?;
            return Ok((kept, report));
        }
        if slot.protocol() == Some(Protocol::Incumbent) {
            return self.meet_incumbent(slot).await;
        }
        let dialled = match self.dial_enrolled(slot).await {
            // A machine that was enrolled once speaks ours.
            Err(Failure::Passing {
                other_protocol: true,
                ..
            }) if self.machine.key.is_none() => return self.meet_incumbent(slot).await,
            dialled => dialled?,
        };
        let key = tls::hash(&dialled.key);
        let renewal = Renewal {
            authority: Arc::clone(self.authority),
            machine: self.machine.id.clone(),
            key,
            term: self.term,
            end: dialled.certificate_end,
            before: self.config.renew_before,
            call_timeout: self.config.call_timeout,
        };
        if dialled.expired() {
            // Good for a new certificate, which the next attempt meets, and for
            // our term before it: an agent renews for nobody else.
            let kept = self.start(slot, dialled, None).await?;
            self.open(&kept).await?;
            renewal
                .renew(kept.agent())
                .await
                .map_err(|error| Failure::passing(&error))?;
            let reason = "the machine's certificate had expired and was renewed";
            return Err(Failure::because(reason.to_owned()));
        }
        let kept = self.start(slot, dialled, Some(renewal)).await?;
        let report = self.open(&kept).await?;
        if slot.keep(&kept) {
            return Ok((kept, report));
        }
        Err(closed(&kept))
    }

    async fn start(
        &self,
        slot: &Arc<Slot>,
        dialled: Dialled,
        renewal: Option<Renewal>,
    ) -> Result<Arc<Kept>, Failure> {
        let origin = self.place.origin.clone();
        let (tracker, config, protocol) = (self.tracker, self.config, Protocol::Vmpool);
        Kept::start(dialled, protocol, origin, slot, tracker, config, renewal)
            .await
            .map_err(|error| Failure::passing(&error))
    }

    /// A TLS connection to the machine, after enrolment where it needs that.
    async fn dial_enrolled(&self, slot: &Slot) -> Result<Dialled, Failure> {
        let known = self.machine.key.or_else(|| slot.key());
        let pin = match known {
            Some(pin) => Some(pin),
            None => self.enrol(slot, None).await?,
        };
        match self.dial(pin).await {
            Err(error) if error.refusal() == Some(Refusal::NotEnrolled) => {
                let pin = self.enrol(slot, pin).await?;
                Ok(self.dial(pin).await?)
            }
            Err(error) if error.refusal() == Some(Refusal::OtherKey) => Err(Failure::Final(
                self.not_enrolled(Refusal::OtherKey.to_string()),
            )),
            Err(error) => Err(error.into()),
            Ok(dialled) if pin.is_none() => {
                // Enrolled under a runner whose books are lost. The CA's word
                // for its key is as good as ours: it gives none before a pin.
                self.pin(slot, tls::hash(&dialled.key)).await?;
                Ok(dialled)
            }
            Ok(dialled) => Ok(dialled),
        }
    }

    async fn dial(&self, pin: Option<KeyHash>) -> Result<Dialled, DialError> {
        let address = self.place.address;
        let runner =
            self.authority
                .runner(SystemTime::now())
                .map_err(|error| DialError::Handshake {
                    address,
                    source: std::io::Error::other(error),
                })?;
        let verifier = ThisMachine {
            roots: Arc::clone(self.authority.roots()),
            pin,
        };
        let tls = tls::config(Arc::new(verifier), runner, SERVE_ALPN);
        dial(&self.place, tls, self.config).await
    }

    /// `None`: the agent is enrolled already.
    async fn enrol(&self, slot: &Slot, pin: Option<KeyHash>) -> Result<Option<KeyHash>, Failure> {
        let pins = self.pins()?;
        let Self {
            authority,
            config: limits,
            tracker,
            ..
        } = self;
        let enroller = Enroller {
            authority,
            limits,
            tracker,
            pins,
        };
        match enroller.enrol(self.machine, &self.place, pin).await {
            Ok(key) => {
                slot.set_key(key);
                Ok(Some(key))
            }
            Err(EnrolError::Already) => Ok(pin),
            Err(EnrolError::Dial(error)) => Err(error.into()),
            Err(error) if error.is_final() => {
                Err(Failure::Final(self.not_enrolled(reason::chain(&error))))
            }
            Err(error) => Err(Failure::passing(&error)),
        }
    }

    async fn pin(&self, slot: &Slot, key: KeyHash) -> Result<(), Failure> {
        match self.pins()?.pin(&self.machine.id, key).await {
            Ok(()) => {
                slot.set_key(key);
                Ok(())
            }
            Err(error @ PinError::OtherKey { .. }) => {
                Err(Failure::Final(self.not_enrolled(reason::chain(&error))))
            }
            Err(error) => Err(Failure::passing(&error)),
        }
    }

    fn pins(&self) -> Result<&dyn PinKey, Failure> {
        self.pins.ok_or_else(|| {
            let reason = "its agent is not the one that was enrolled".to_owned();
            Failure::Final(self.not_enrolled(reason))
        })
    }

    /// Puts our term to the agent.
    async fn open(&self, kept: &Kept) -> Result<AgentReport, Failure> {
        if kept.protocol() == Protocol::Incumbent {
            return self.ask_incumbent(kept).await;
        }
        let mut agent = kept.agent();
        let open = agent.open(OpenRequest { term: self.term.0 });
        match timeout(self.config.call_timeout, open).await {
            Ok(Ok(report)) => wire::report(report.into_inner()).map_err(Failure::because),
            Ok(Err(status)) => Err(match wire::fenced_by(&status) {
                Some(theirs) => Failure::Final(LinkError::Fenced {
                    machine: self.machine.id.clone(),
                    ours: self.term,
                    theirs,
                }),
                None => Failure::because(format!("open: {}", reason::status(&status))),
            }),
            Err(_) => Err(Failure::because("open: no answer in time".to_owned())),
        }
    }

    fn unreachable(&self, reason: String) -> LinkError {
        LinkError::Unreachable {
            machine: self.machine.id.clone(),
            reason,
        }
    }

    fn not_enrolled(&self, reason: String) -> LinkError {
        LinkError::Enrolment {
            machine: self.machine.id.clone(),
            reason,
        }
    }
}

/// The connection ended before it was kept.
pub(super) fn closed(kept: &Kept) -> Failure {
    let reason = kept.end().reason();
    Failure::because(
        reason
            .unwrap_or("the connection was closed here")
            .to_owned(),
    )
}
