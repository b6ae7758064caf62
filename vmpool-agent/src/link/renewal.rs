//! A new certificate for a machine, over its open connection and for the key
//! it has: in time before the old one ends, or at once where that is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use vmpool_core::{KeyHash, MachineId, Term};
use vmpool_proto::agent::v1::agent_client::AgentClient;
use vmpool_proto::agent::v1::{RenewCertificateRequest, RenewCertificateResponse};

use crate::authority::{Authority, AuthorityError};
use crate::connection::Http2;
use crate::enrol::{CsrError, key_of_csr};
use crate::{reason, tls};

/// The pause after each renewal, and after one that failed: whatever the
/// certificates' dates are, nobody is kept busy by them.
const PAUSE: Duration = Duration::from_hours(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    #[error("{}", reason::status(.0))]
    Call(#[from] Status),
    #[error("no answer in time")]
    Slow,
    #[error("the agent ended the call too soon")]
    Short,
    #[error("the agent's certificate request")]
    Csr(#[from] CsrError),
    #[error("the agent asks for a certificate for another key than the pinned one")]
    OtherKey,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What it takes to renew a machine's certificate.
pub(super) struct Renewal {
    pub(super) authority: Arc<Authority>,
    pub(super) machine: MachineId,
    pub(super) key: KeyHash,
    pub(super) term: Term,
    /// When the present certificate ends.
    pub(super) end: SystemTime,
    /// How long before that it is renewed.
    pub(super) before: Duration,
    pub(super) call_timeout: Duration,
}

impl Renewal {
    /// Renews for as long as it is polled.
    pub(super) async fn keep(mut self, agent: AgentClient<Http2>) -> Infallible {
        loop {
            let due = self.end.checked_sub(self.before);
            let due = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
            sleep(due.unwrap_or_default()).await;
            // Boxed, so that waiting for days does not hold a call's memory.
            match Box::pin(self.renew(agent.clone())).await {
                Ok(end) => self.end = end,
                Err(error) => {
                    let machine = &self.machine;
                    let error = reason::chain(&error);
                    tracing::warn!(%machine, %error, "could not renew a machine's certificate");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Renews now. Says when the new certificate ends.
    pub(super) async fn renew(
        &self,
        agent: AgentClient<Http2>,
    ) -> Result<SystemTime, RenewalError> {
        timeout(self.call_timeout, self.exchange(agent))
            .await
            .map_err(|_| RenewalError::Slow)?
    }

    async fn exchange(&self, mut agent: AgentClient<Http2>) -> Result<SystemTime, RenewalError> {
        let (requests, outgoing) = mpsc::channel(1);
        let call = agent.renew_certificate(ReceiverStream::new(outgoing));
        let mut answers = call.await?.into_inner();
        let RenewCertificateResponse { csr_der } =
            answers.message().await?.ok_or(RenewalError::Short)?;
        let key = key_of_csr(&csr_der)?;
        if tls::hash(&key) != self.key {
            return Err(RenewalError::OtherKey);
        }
        let certificate = self
            .authority
            .certify(&self.machine, &key, SystemTime::now())?;
        let end = tls::end_of(&certificate)
            .map_err(|error| Status::internal(format!("our own certificate: {error}")))?;
        let certificate_der = certificate.to_vec();
        let request = RenewCertificateRequest {
            term: self.term.0,
            certificate_der,
        };
        requests
            .send(request)
            .await
            .map_err(|_| RenewalError::Short)?;
        answers.message().await?.ok_or(RenewalError::Short)?;
        tracing::info!(machine = %self.machine, "renewed a machine's certificate");
        Ok(end)
    }
}
