//! Connections to agents that speak the incumbent's protocol: known by the
//! throw-away CA of their machine, and by nothing that they say.
//!
//! An agent is met here that refused the protocol of enrolment. To be taken it
//! must have the key that its machine was born with: of a machine that was not
//! ordered for this scheme nobody has such a key, so none is talked into it.
//!
//! There is no term and no stage in what such an agent says of itself.

use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use vmpool_core::AgentReport;
use vmpool_core::agent::enrolment::SERVE_ALPN;
use vmpool_proto::incumbent::Health;

use super::dialling::{Dialling, Failure, closed};
use super::kept::{Kept, Protocol};
use super::slot::Slot;
use crate::authority::AuthorityError;
use crate::dial::{Place, dial};
use crate::incumbent::SERVER_NAME;
use crate::tls;

impl Dialling<'_> {
    /// A connection to an agent that speaks the incumbent's protocol.
    pub(super) async fn meet_incumbent(
        &self,
        slot: &Arc<Slot>,
    ) -> Result<(Arc<Kept>, AgentReport), Failure> {
        let failed = |error: AuthorityError| Failure::passing(&error);
        let machine = self.machine;
        let born_with = self.authority.throw_away(&machine.order, machine.attempt);
        let born_with = born_with.map_err(failed)?;
        let identity = born_with.identity().map_err(failed)?;
        let verifier = born_with.verifier().map_err(failed)?;
        let place = Place {
            address: self.place.address,
            name: ServerName::try_from(SERVER_NAME).expect("it is a name"),
            origin: Uri::from_static("https://drone/"),
        };
        let tls = tls::config(verifier, identity, SERVE_ALPN);
        let dialled = dial(&place, tls, self.config).await?;
        let protocol = Protocol::Incumbent;
        let (tracker, config) = (self.tracker, self.config);
        let kept = Kept::start(dialled, protocol, place.origin, slot, tracker, config, None);
        let kept = kept.await.map_err(|error| Failure::passing(&error))?;
        let report = self.ask_incumbent(&kept).await?;
        if slot.keep(&kept) {
            Ok((kept, report))
        } else {
            Err(closed(&kept))
        }
    }

    /// Whether the agent is well.
    pub(super) async fn ask_incumbent(&self, kept: &Kept) -> Result<AgentReport, Failure> {
        let requests = kept.requests();
        let health = requests.get::<Health>("/healthz", self.config.call_timeout);
        let health = health.await.map_err(|error| Failure::passing(&error))?;
        if !health.ok {
            let reason = "its agent says that it is not well".to_owned();
            return Err(Failure::because(reason));
        }
        Ok(AgentReport {
            version: health.version,
            ..AgentReport::default()
        })
    }
}
