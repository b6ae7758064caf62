//! The way to a server: straight, or through a proxy's tunnel.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

/// For a connection, and for the tunnel through a proxy.
const PATIENCE: Duration = Duration::from_secs(15);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
enum WayError {
    #[error("the proxy {proxy} is no http:// proxy, which alone is understood")]
    Scheme { proxy: String },
    #[error("no tunnel through the proxy {proxy} to {to}")]
    Tunnel {
        proxy: String,
        to: String,
        #[source]
        source: BoxError,
    },
    #[error("{to} is not reached within {PATIENCE:?}")]
    TooLong { to: String },
}

/// Makes connections. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Way {
    straight: HttpConnector,
    proxies: Arc<Matcher>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may have a password.
        f.write_str("Way")
    }
}

impl Way {
    /// By the proxies that the environment names.
    pub(crate) fn of_environment() -> Self {
        Self::by(Matcher::from_env())
    }

    pub(super) fn by(proxies: Matcher) -> Self {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_connect_timeout(Some(PATIENCE));
        Self {
            straight,
            proxies: Arc::new(proxies),
        }
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.straight.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(by) = self.proxies.intercept(&to) else {
            let connecting = self.straight.call(to);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let proxy = by.uri().authority().map(|at| {
            let port = at.port_u16().map(|port| format!(":{port}"));
            format!("{}{}", at.host(), port.unwrap_or_default())
        });
        let proxy = proxy.unwrap_or_default();
        if by.uri().scheme_str() != Some("http") {
            return Box::pin(async move { Err(WayError::Scheme { proxy }.into()) });
        }
        let mut tunnel = Tunnel::new(by.uri().clone(), self.straight.clone());
        if let Some(password) = by.basic_auth() {
            tunnel = tunnel.with_auth(password.clone());
        }
        let name = to.host().unwrap_or_default().to_owned();
        let connecting = tunnel.call(to);
        Box::pin(async move {
            match timeout(PATIENCE, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(WayError::Tunnel {
                    proxy,
                    to: name,
                    source: error.into(),
                }
                .into()),
                Err(_) => Err(WayError::TooLong { to: name }.into()),
            }
        })
    }
}
