//! The agent without its port: taken up from its directory, with a service
//! that answers runners.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::DropGuard;
use vmpool_core::agent::{Clocks, EndReason, Event, Settings};

use super::clock::MachineClock;
use super::digest::Digests;
use super::engine::Engine;
use super::service::Service;
use super::store::{Store, StoreError};
use crate::boot;
use crate::claim::{Claim, Protocol};
use crate::host::{Host, HostConfig, OpenError};
use crate::identity::{Identity, Standing};
use crate::notices::{Endpoint, Notices};

/// The agent of one machine. It serves nobody by itself: its [service](Agent::service)
/// goes behind a port that lets only runners through, such as [`crate::listener`].
///
/// Dropping it leaves the steps running under their holders, for the next
/// agent of the same directory.
#[derive(Debug)]
pub struct Agent {
    engine: Arc<Engine>,
    identity: Identity,
    digests: Arc<Digests>,
    claim: Claim,
    notices: Notices,
    dir: PathBuf,
    _closes: DropGuard,
}

/// An agent could not be taken up from its directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeUpError {
    /// A file of its own.
    #[error("{attempted}")]
    File {
        /// What was attempted, on which file.
        attempted: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its steps can't be found or kept.
    #[error("take up the steps")]
    Host(#[from] OpenError),
}

impl From<StoreError> for TakeUpError {
    fn from(error: StoreError) -> Self {
        Self::File {
            attempted: error.to_string(),
            source: error.into_source(),
        }
    }
}

impl Agent {
    /// Goes on where an earlier agent of this directory was, or begins. Must be
    /// called within a tokio runtime. Blocks for a few small writes, and where
    /// a step was lost meanwhile until what it left is ended.
    pub fn take_up(
        dir: &Path,
        host: HostConfig,
        clocks: Clocks,
        identity: Identity,
    ) -> Result<Self, TakeUpError> {
        let boot = boot::id().map_err(|source| TakeUpError::File {
            attempted: format!("read {}", boot::PATH),
            source,
        })?;
        let store = Store::open(dir)?;
        let digests = Arc::new(Digests::new(&store.key()?));
        let clock = MachineClock::new(store.birth(boot.clone())?);
        let host = Host::open(host)?;
        let enrolled = identity.standing() == Standing::Enrolled;
        let settings = Settings::new(clocks, boot);
        let engine = Engine::restore(settings, enrolled, host, store, clock);
        let has_stage = engine.look(|rules| rules.stage().is_some());
        let claim = Claim::of(has_stage.then_some(Protocol::Ours));
        Ok(Self {
            _closes: engine.close_on_drop(),
            engine,
            identity,
            digests,
            claim,
            notices: Notices::default(),
            dir: dir.to_owned(),
        })
    }

    /// Answers runners.
    pub fn service(&self) -> Service {
        Service::new(
            self.engine.clone(),
            self.identity.clone(),
            self.digests.clone(),
            self.claim.clone(),
            self.notices.clone(),
            self.dir.clone(),
        )
    }

    /// Has the cloud's notices of the machine's end read from its metadata
    /// service and told to those who watch, until the agent closes.
    pub fn read_notices(&self, endpoint: Endpoint) {
        self.engine.spawn(self.notices.clone().read_from(endpoint));
    }

    /// Which protocol has the machine.
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The agent's identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is to be called when the agent has joined its deployment: nobody
    /// is answered before that.
    pub fn on_enrolled(&self) -> impl Fn() + Send + Sync + 'static {
        let engine = self.engine.clone();
        move || engine.event(Event::Enrolled)
    }

    /// Waits until the rules end the machine, and says why.
    ///
    /// # Cancel safety
    /// Cancelling loses nothing.
    pub async fn over(&self) -> EndReason {
        self.engine.over().await
    }

    /// Kills all steps, because the machine ends.
    pub async fn kill_all(&self) {
        self.engine.kill_all().await;
    }

    /// Stops the agent's own work and waits for what is under way. The steps run on.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
