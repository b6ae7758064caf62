//! How the agent joins its deployment (DESIGN §7, steps 3 to 5): it proves to
//! a runner that it was born of the runner's order, and takes a certificate.
//!
//! Served only on connections with ALPN `vmpool-enrol/1`, whose peer has shown
//! a runner's certificate. The proof covers this very TLS connection, so one
//! that somebody relays is worth nothing.
//!
//! Repeatable by the same key until a runner has come back and seen the
//! certificate; then the secret is forgotten and enrolment is over.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::server::TlsStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use vmpool_core::agent::Bootstrap;
use vmpool_core::agent::enrolment::{
    EXPORTER_LABEL, EXPORTER_LEN, exporter_context, machine_name, proof_message, refusal,
};
use vmpool_core::{Attempt, MachineId, OrderId};
use vmpool_proto::agent::v1::enrolment_server::{self, EnrolmentServer};
use vmpool_proto::agent::v1::{BeginRequest, BeginResponse, FinishRequest, FinishResponse};
use zeroize::Zeroizing;

use crate::identity::{Identity, IdentityError, Standing};

/// Largest message of the enrolment service, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// The agent's way into its deployment.
pub struct Enrolment {
    identity: Identity,
    order: OrderId,
    attempt: Attempt,
    machine: Option<MachineId>,
    secret: Mutex<Option<Zeroizing<Vec<u8>>>>,
    on_enrolled: Box<dyn Fn() + Send + Sync>,
    over: OnceCell<()>,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("identity", &self.identity)
            .field("order", &self.order)
            .field("attempt", &self.attempt)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl Enrolment {
    /// Enrolment of `identity` by what the machine was born with. `machine` is
    /// the machine's id where the agent knows it otherwise than from the
    /// runner: then a runner that takes it for another is refused.
    ///
    /// `on_enrolled` is called once, when a runner first connects with the
    /// certificate in use, or right here if that was before a restart; no call
    /// is served before it has returned. It must not block for long.
    pub fn new(
        identity: Identity,
        bootstrap: Bootstrap,
        machine: Option<MachineId>,
        on_enrolled: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (secret, over) = if identity.standing() == Standing::Enrolled {
            on_enrolled();
            (None, OnceCell::new_with(Some(())))
        } else {
            (
                Some(Zeroizing::new(bootstrap.secret.expose().to_vec())),
                OnceCell::new(),
            )
        };
        Self {
            identity,
            order: bootstrap.order,
            attempt: bootstrap.attempt,
            machine,
            secret: Mutex::new(secret),
            on_enrolled: Box::new(on_enrolled),
            over,
        }
    }

    /// The identity that is enrolled.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A runner has finished a handshake in which it saw the deployment's
    /// certificate: enrolment is over. Done once; who comes meanwhile waits.
    pub(crate) async fn close(&self) {
        self.over.get_or_init(|| self.close_once()).await;
    }

    async fn close_once(&self) {
        let identity = self.identity.clone();
        let written = tokio::task::spawn_blocking(move || identity.enrolled()).await;
        match written {
            Ok(Ok(())) => tracing::info!("enrolled"),
            // It is over all the same, for as long as the agent runs.
            Ok(Err(error)) => {
                tracing::error!(%error, "could not write down that the agent is enrolled");
            }
            Err(error) => tracing::error!(%error, "writing down that the agent is enrolled failed"),
        }
        self.secret.lock().take();
        (self.on_enrolled)();
    }

    fn check(&self, machine: &MachineId, request: &BeginRequest) -> Result<(), Status> {
        if self.identity.standing() == Standing::Enrolled {
            return Err(refused(
                refusal::ENROLLED,
                "this agent is enrolled already".to_owned(),
            ));
        }
        if request.order_id != self.order.as_str() || request.attempt != self.attempt.0 {
            return Err(refused(
                refusal::OTHER_ORDER,
                format!(
                    "this machine is of order {} attempt {}",
                    self.order, self.attempt
                ),
            ));
        }
        match &self.machine {
            Some(own) if own != machine => Err(refused(
                refusal::OTHER_MACHINE,
                format!("this is machine {own}"),
            )),
            _ => Ok(()),
        }
    }

    fn prove(&self, exporter: &[u8; EXPORTER_LEN], csr_der: &[u8]) -> Result<Vec<u8>, Status> {
        let secret = self.secret.lock();
        let secret = secret.as_ref().ok_or_else(|| {
            refused(
                refusal::ENROLLED,
                "this agent is enrolled already".to_owned(),
            )
        })?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(hmac::sign(&key, &proof_message(exporter, csr_der))
            .as_ref()
            .to_vec())
    }
}

/// Enrolment over one connection.
pub(crate) fn service(
    enrolment: Arc<Enrolment>,
    stream: SharedStream,
) -> EnrolmentServer<OnConnection> {
    EnrolmentServer::new(OnConnection {
        enrolment,
        stream,
        began: Mutex::new(None),
    })
    .max_decoding_message_size(MAX_MESSAGE)
    .max_encoding_message_size(MAX_MESSAGE)
}

pub(crate) struct OnConnection {
    enrolment: Arc<Enrolment>,
    stream: SharedStream,
    began: Mutex<Option<MachineId>>,
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for OnConnection {
    async fn begin(
        &self,
        request: Request<BeginRequest>,
    ) -> Result<Response<BeginResponse>, Status> {
        let request = request.into_inner();
        let machine = MachineId::parse(&request.machine_id)
            .map_err(|error| invalid("machine_id", error.to_string()))?;
        self.enrolment.check(&machine, &request)?;
        let csr_der = self.enrolment.identity.csr_der().map_err(internal)?;
        let context = exporter_context(&self.enrolment.order, self.enrolment.attempt, &machine);
        let exporter = self.stream.export(&context)?;
        let proof = self.enrolment.prove(&exporter, &csr_der)?;
        *self.began.lock() = Some(machine);
        Ok(Response::new(BeginResponse {
            csr_der,
            proof,
            identity_document: Vec::new(),
        }))
    }

    async fn finish(
        &self,
        request: Request<FinishRequest>,
    ) -> Result<Response<FinishResponse>, Status> {
        let machine = self.began.lock().clone();
        let machine =
            machine.ok_or_else(|| Status::failed_precondition("begin has not been called"))?;
        if self.enrolment.identity.standing() == Standing::Enrolled {
            return Err(refused(
                refusal::ENROLLED,
                "this agent is enrolled already".to_owned(),
            ));
        }
        let identity = self.enrolment.identity.clone();
        let certificate = request.into_inner().certificate_der;
        let name = machine_name(&machine);
        tokio::task::spawn_blocking(move || identity.install(&certificate, &name))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| match error {
                IdentityError::Refused { .. } => invalid("certificate_der", error.to_string()),
                _ => internal(error),
            })?;
        tracing::info!(%machine, "took the deployment's certificate");
        Ok(Response::new(FinishResponse {}))
    }
}

/// A TLS connection that HTTP/2 runs over while enrolment takes keying
/// material from it.
#[derive(Clone)]
pub(crate) struct SharedStream(Arc<Mutex<TlsStream<TcpStream>>>);

impl SharedStream {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn export(&self, context: &[u8]) -> Result<[u8; EXPORTER_LEN], Status> {
        self.0
            .lock()
            .get_ref()
            .1
            .export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, Some(context))
            .map_err(internal)
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_read(context, buffer)
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(context)
    }
}

fn refused(reason: &'static str, message: String) -> Status {
    let mut status = Status::failed_precondition(message);
    status
        .metadata_mut()
        .insert("vmpool-reason", MetadataValue::from_static(reason));
    status
}

fn invalid(field: &'static str, message: String) -> Status {
    let mut status = Status::invalid_argument(message);
    status
        .metadata_mut()
        .insert("vmpool-field", MetadataValue::from_static(field));
    status
}

fn internal(error: impl fmt::Display) -> Status {
    Status::internal(error.to_string())
}
