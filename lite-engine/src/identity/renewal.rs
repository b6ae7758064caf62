//! The agent's half of `RenewCertificate`: a request under the same key goes
//! out, a certificate comes in and is put to use, and that is confirmed.

use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Status, Streaming};
use vmpool_proto::agent::v1::{RenewCertificateRequest, RenewCertificateResponse};

use super::{Identity, IdentityError};

/// Serves one renewal. `fence` is asked about the runner's term before the
/// certificate is taken; what it answers is the call's error.
///
/// Dropping the stream leaves the present certificate in use.
pub fn renew_certificate(
    identity: Identity,
    requests: Streaming<RenewCertificateRequest>,
    fence: impl FnOnce(u64) -> Result<(), Status> + Send + 'static,
) -> impl Stream<Item = Result<RenewCertificateResponse, Status>> + Send + 'static {
    let ours = identity
        .csr_der()
        .map(|csr_der| RenewCertificateResponse { csr_der })
        .map_err(|error| Status::internal(error.to_string()));
    let go_on = ours.is_ok();
    let theirs = stream::once(async move { take(identity, requests, fence).await });
    stream::iter([ours]).chain(theirs.take(usize::from(go_on)))
}

async fn take(
    identity: Identity,
    mut requests: Streaming<RenewCertificateRequest>,
    fence: impl FnOnce(u64) -> Result<(), Status>,
) -> Result<RenewCertificateResponse, Status> {
    let request = requests
        .message()
        .await?
        .ok_or_else(|| Status::cancelled("the runner sent no certificate"))?;
    fence(request.term)?;
    tokio::task::spawn_blocking(move || identity.install_renewed(&request.certificate_der))
        .await
        .map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| match error {
            IdentityError::Refused { .. } => Status::invalid_argument(error.to_string()),
            _ => Status::internal(error.to_string()),
        })?;
    tracing::info!("the certificate was renewed");
    Ok(RenewCertificateResponse {
        csr_der: Vec::new(),
    })
}
