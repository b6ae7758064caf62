//! How the runner takes a machine into the deployment (DESIGN §7, steps 2, 4
//! and 5).
//!
//! The other end may be anybody. It is taken for the ordered machine because
//! it holds the order's secret and proves so over this very TLS connection;
//! from then on it is known by its key, which is pinned before it gets a
//! certificate. The runner sends nothing secret.

mod csr;
mod proof;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use vmpool_core::agent::enrolment::{
    ENROL_ALPN, EXPORTER_LABEL, EXPORTER_LEN, exporter_context, refusal,
};
use vmpool_core::{KeyHash, Machine, PinError, PinKey};
use vmpool_proto::agent::v1::enrolment_client::EnrolmentClient;
use vmpool_proto::agent::v1::{BeginRequest, FinishRequest};

pub(crate) use self::csr::{CsrError, key_of_csr};
use crate::authority::{Authority, AuthorityError};
use crate::config::LinkConfig;
use crate::connection::{self, Http2, Http2Error, Tasks};
use crate::dial::{DialError, Dialled, Place, dial};
use crate::reason;
use crate::tls::{self, AnyKey};

/// Largest message of the enrolment service, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// Why a machine was not enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http2(#[from] Http2Error),
    #[error("{call}: {}", reason::status(.status))]
    Call { call: &'static str, status: Status },
    #[error("{call}: no answer in time")]
    Slow { call: &'static str },
    /// Not an error in itself: the agent has a certificate, and a runner has seen it.
    #[error("the agent is enrolled already")]
    Already,
    #[error("the agent refuses: {reason}")]
    Refused { reason: String },
    #[error("the agent's key is not the one that this machine enrolled with")]
    OtherKey,
    #[error("the proof is wrong: whoever answers has not this order's secret, or somebody relays")]
    Proof,
    #[error("the agent's certificate request")]
    Csr(#[from] CsrError),
    #[error("the agent asks for a certificate for another key than the one it uses")]
    ForeignKey,
    #[error("take keying material from the connection")]
    Exporter(#[source] rustls::Error),
    #[error(transparent)]
    Pin(PinError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl EnrolError {
    /// Dialling again can't mend it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::OtherKey
                | Self::Proof
                | Self::Csr(_)
                | Self::ForeignKey
                | Self::Pin(PinError::OtherKey { .. })
        )
    }
}

/// Enrols machines.
pub(crate) struct Enroller<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) limits: &'a LinkConfig,
    pub(crate) tracker: &'a TaskTracker,
    pub(crate) pins: &'a dyn PinKey,
}

impl Enroller<'_> {
    /// Enrols `machine`, whose agent is at `place`, and says which key it has.
    /// `pin` is the key that it must have, if one is known.
    pub(crate) async fn enrol(
        &self,
        machine: &Machine,
        place: &Place,
        pin: Option<KeyHash>,
    ) -> Result<KeyHash, EnrolError> {
        let runner = self.authority.runner(SystemTime::now())?;
        let config = tls::config(Arc::new(AnyKey), runner, ENROL_ALPN);
        let dialled = dial(place, config, self.limits).await?;
        let key = tls::hash(&dialled.key);
        if pin.is_some_and(|pin| pin != key) {
            return Err(EnrolError::OtherKey);
        }
        let exporter = exporter(&dialled, machine)?;
        let stop = CancellationToken::new();
        let tasks = Tasks::new(self.tracker, stop.clone());
        let _stop_on_drop = stop.drop_guard();
        let (http, connection) = connection::start(dialled.stream, &tasks, self.limits).await?;
        tasks.spawn(connection);
        let agent = EnrolmentClient::with_origin(http, place.origin.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        self.over(agent, machine, &dialled.key, &exporter).await?;
        Ok(key)
    }

    async fn over(
        &self,
        mut agent: EnrolmentClient<Http2>,
        machine: &Machine,
        presented: &[u8],
        exporter: &[u8; EXPORTER_LEN],
    ) -> Result<(), EnrolError> {
        let begin = agent.begin(BeginRequest {
            machine_id: machine.id.as_str().to_owned(),
            order_id: machine.order.as_str().to_owned(),
            attempt: machine.attempt.0,
        });
        let ours = self.answer("begin the enrolment", begin).await?;

        let secret = self.authority.secret(&machine.order, machine.attempt);
        if !proof::holds(&secret, exporter, &ours.csr_der, &ours.proof) {
            return Err(EnrolError::Proof);
        }
        if key_of_csr(&ours.csr_der)? != presented {
            return Err(EnrolError::ForeignKey);
        }
        // From here on the machine is who it says it is. Where a cloud signs
        // identity documents, theirs is held against the machine here.
        self.pins
            .pin(&machine.id, tls::hash(presented))
            .await
            .map_err(EnrolError::Pin)?;
        let certificate = self
            .authority
            .certify(&machine.id, presented, SystemTime::now())?;

        let finish = agent.finish(FinishRequest {
            certificate_der: certificate.to_vec(),
        });
        self.answer("finish the enrolment", finish).await?;
        Ok(())
    }

    async fn answer<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, EnrolError> {
        let answer = timeout(self.limits.call_timeout, answer);
        let answer = answer.await.map_err(|_| EnrolError::Slow { call })?;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(call, status))
    }
}

fn refused(call: &'static str, status: Status) -> EnrolError {
    let why = status
        .metadata()
        .get("vmpool-reason")
        .and_then(|why| why.to_str().ok());
    match why {
        Some(refusal::ENROLLED) => EnrolError::Already,
        Some(_) => EnrolError::Refused {
            reason: reason::status(&status),
        },
        None => EnrolError::Call { call, status },
    }
}

fn exporter(dialled: &Dialled, machine: &Machine) -> Result<[u8; EXPORTER_LEN], EnrolError> {
    let context = exporter_context(&machine.order, machine.attempt, &machine.id);
    let connection = dialled.stream.get_ref().1;
    connection
        .export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, Some(&context))
        .map_err(EnrolError::Exporter)
}
