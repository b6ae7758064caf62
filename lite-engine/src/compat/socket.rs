//! The socket at which steps ask for tokens of their workload identities.
//!
//! Any user of the machine may connect; what counts is the handle. The folder
//! is the agent's own, so no step can put another socket in its place, unless
//! it is root.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::desk::Desk;
use super::routes;

/// For a whole connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most connections at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 32;

/// The socket's path can't be used.
#[derive(Debug, thiserror::Error)]
#[error("listen on {}", path.display())]
pub(super) struct SocketError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Opens the socket, if the steps are told to ask at one, and answers there
/// until the desk stops.
pub(super) fn open(desk: &Desk) -> Result<(), SocketError> {
    let Some(path) = desk.identities().url().strip_prefix("unix://") else {
        return Ok(());
    };
    let path = Path::new(path);
    let listener = bind(path).map_err(|source| SocketError {
        path: path.to_owned(),
        source,
    })?;
    desk.spawn(accept(desk.clone(), listener));
    Ok(())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::other("its folder is another user's"));
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

async fn accept(desk: Desk, listener: UnixListener) {
    let connections = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let permit = connections.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let Some((permit, accepted)) = desk.closing().run_until_cancelled(next).await else {
            return;
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, for one; it would be so again at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let serving = serve(desk.clone(), stream);
        desk.spawn(async move {
            let _permit = permit;
            let _ = timeout(PATIENCE, serving).await;
        });
    }
}

async fn serve(desk: Desk, stream: UnixStream) {
    let answered = service_fn(|request| routes::answer_step(&desk, request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answered);
    let stopped = desk.closing().run_until_cancelled(connection).await;
    if let Some(Err(error)) = stopped {
        tracing::debug!(%error, "a step's connection broke");
    }
}
