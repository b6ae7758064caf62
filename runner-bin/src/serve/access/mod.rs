//! Who gets in, and how much of the runner one caller may have.
//!
//! ```text
//! policy   may it listen there at all?
//! tls      certificates, the runner's and the callers'
//! callers  the file of callers and their tokens
//! gate     who asks? every request passes it
//! caller   may they use that pool?
//! permit   and that stage? have they not too many (stages) already?
//! rate     do they ask too often?
//! ```
//! Invariants:
//! - a request that passed no gate may nothing ([`Caller::of`]);
//! - files that can't be used change nothing: those before stay in force;
//! - neither a token nor a key is in a message, a log line or a Debug output (P11);
//! - where nobody needs a name and the caller is on this host, a request costs no
//!   lock and no look-up.

mod args;
mod caller;
mod callers;
mod files;
mod gate;
mod permit;
mod policy;
mod rate;
mod refusal;
mod stages;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::select_all;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::RwLock;
use tokio::net::TcpStream;

pub(crate) use self::args::AccessArgs;
pub(crate) use self::caller::{Caller, NotAllowed};
use self::caller::{Known, Limits};
use self::callers::{Callers, CallersError};
use self::files::FileError;
pub(super) use self::gate::{GateLayer, Peer};
pub(super) use self::policy::judge;
use self::rate::{Of, Rate};
pub(crate) use self::refusal::NotAdmitted;
pub(super) use self::refusal::{not_there, over_grpc, over_http};
use self::stages::Stages;
pub(super) use self::tls::{DoorKind, peer_name};
use self::tls::{Tls, TlsError, TlsFiles};
use super::watch::Watch;

/// What anybody may ask, so that probes need no token: it says nothing but
/// whether the runner is there.
const FOR_ALL: [&str; 4] = [
    "/healthz",
    "/readyz",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Why the options, or files that they name, can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}", path.display())]
    Callers {
        path: PathBuf,
        #[source]
        source: CallersError,
    },
}

/// Who gets in. A handle: clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tls: Option<(TlsFiles, RwLock<Tls>)>,
    callers: Option<(PathBuf, RwLock<Arc<Callers>>)>,
    /// Who has no token and no certificate stays out.
    needs_name: bool,
    rate: Rate,
    stages: Stages,
}

impl Access {
    /// Reads the files that the options name. Blocks shortly.
    ///
    /// # Errors
    /// One can't be used.
    pub(crate) fn load(args: &AccessArgs) -> Result<Self, AccessError> {
        let tls = match args.tls_files() {
            None => None,
            Some(files) => {
                let tls = Tls::load(&files)?;
                Some((files, RwLock::new(tls)))
            }
        };
        let callers = match &args.tokens {
            None => None,
            Some(path) => {
                let callers = RwLock::new(Arc::new(read_callers(path)?));
                Some((path.clone(), callers))
            }
        };
        Ok(Self(Arc::new(Inner {
            tls,
            callers,
            needs_name: args.tokens.is_some() || args.tls_client_ca.is_some(),
            rate: Rate::new(args.max_requests_per_second),
            stages: Stages::default(),
        })))
    }

    /// Reads the files again; says what became of it. One that can't be used is
    /// not taken: the one before stays in force. Blocks shortly.
    pub(crate) fn reload(&self) {
        if let Some((files, tls)) = &self.0.tls {
            let certificate = files.certificate.display();
            match Tls::load(files) {
                Ok(read) => {
                    *tls.write() = read;
                    tracing::info!(%certificate, "the certificate was read, and is in force");
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::error!(error, "the certificate before stays in force");
                }
            }
        }
        if let Some((path, callers)) = &self.0.callers {
            match read_callers(path) {
                Ok(read) => {
                    tracing::info!(callers = read.len(), "the file of callers is in force");
                    *callers.write() = Arc::new(read);
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::error!(error, "the callers before stay in force");
                }
            }
        }
    }

    /// Connections speak TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// Makes the handshake, where there is to be one. None: none is needed.
    ///
    /// # Errors
    /// It fails.
    ///
    /// # Cancel safety
    /// A dropped call drops the connection.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        door: DoorKind,
    ) -> std::io::Result<Entered> {
        let tls = self.0.tls.as_ref().map(|(_, tls)| tls.read().clone());
        Ok(match tls {
            None => Entered::Plain(stream),
            Some(tls) => Entered::Tls(Box::new(tls.accept(stream, door).await?)),
        })
    }

    /// Who sends the request of these headers.
    ///
    /// # Errors
    /// Nobody who may ask, or who asks too often.
    pub(crate) fn admit(
        &self,
        peer: &Peer,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, NotAdmitted> {
        let inner = &self.0;
        let elsewhere = peer.address.filter(|ip| !ip.to_canonical().is_loopback());
        if !inner.needs_name {
            return match elsewhere {
                Some(ip) if inner.rate.is_too_soon(&Of::address(ip)) => Err(NotAdmitted::TooSoon),
                _ => Ok(Caller::anonymous()),
            };
        }
        match self.known(peer, headers) {
            Ok(known) => {
                let by_name = || !inner.rate.is_too_soon(&Of::Name(known.name.clone()));
                if known.is_in_time().unwrap_or_else(by_name) {
                    Ok(Caller::known(known))
                } else {
                    Err(NotAdmitted::TooSoon)
                }
            }
            Err(refused) => {
                let of = elsewhere.map(Of::address);
                if of.is_some_and(|of| inner.rate.is_too_soon(&of)) {
                    Err(NotAdmitted::TooSoon)
                } else if FOR_ALL.contains(&path) {
                    Ok(Caller::nobody())
                } else {
                    Err(refused)
                }
            }
        }
    }

    fn known(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Known>, NotAdmitted> {
        let callers = self.0.callers.as_ref();
        let callers = callers.map(|(_, callers)| Arc::clone(&callers.read()));
        if let (Some(callers), Some(shown)) = (&callers, headers.get(AUTHORIZATION)) {
            let token = bearer(shown.as_bytes()).ok_or(NotAdmitted::NoBearer)?;
            let known = callers.by_token(token).ok_or(NotAdmitted::UnknownToken)?;
            return Ok(Arc::clone(known));
        }
        let Some(name) = &peer.certificate else {
            return Err(NotAdmitted::Nameless);
        };
        let listed = callers.as_ref().and_then(|all| all.by_certificate(name));
        Ok(listed.map_or_else(
            // The CA vouches for it, and the file says nothing else.
            || Arc::new(Known::new(name.to_string(), None, Limits::default())),
            Arc::clone,
        ))
    }

    /// The caller of this name, as another process of this runner has admitted it.
    /// None: it is not in the file any more.
    pub(crate) fn again(&self, name: &str) -> Option<Caller> {
        let (_, callers) = self.0.callers.as_ref()?;
        callers.read().by_name(name).cloned().map(Caller::known)
    }
}

/// A connection, after its handshake.
#[derive(Debug)]
pub(crate) enum Entered {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Tells when one of the files is another than before.
#[derive(Debug)]
pub(super) struct Watches(Vec<Watch>);

impl Watches {
    /// Must be called within a tokio runtime, before the files are read.
    pub(super) fn begin(args: &AccessArgs) -> Self {
        Self(args.files().cloned().map(Watch::begin).collect())
    }

    /// Ends when a file is another than before; never, if there is none.
    ///
    /// # Cancel safety
    /// Safe: what a dropped call has seen, the next one knows.
    pub(super) async fn changed(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.0.iter_mut().map(|watch| Box::pin(watch.changed()));
        select_all(changes).await;
    }
}

fn read_callers(path: &Path) -> Result<Callers, AccessError> {
    let text = files::read_secret(path)?;
    Callers::read(&text).map_err(|source| AccessError::Callers {
        path: path.to_owned(),
        source,
    })
}

/// The token of `Bearer TOKEN`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
