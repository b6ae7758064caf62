//! HTTPS to services elsewhere: by the proxy that the environment names, and
//! with a private CA beside the system's. Not for agents and other runners:
//! those are reached directly, and known by the deployment's own CA.
//!
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` count as everywhere (also in lower
//! case); a proxy is asked for a tunnel, so it sees a name and nothing else.

mod trust;
mod way;

use std::path::Path;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

pub(crate) use self::trust::{Own, TrustError, only, system_and};
use self::way::Way;

/// A client for bodies of one kind.
pub(crate) type HttpsClient<B> = Client<HttpsConnector<Way>, B>;

/// A client that believes the system's CAs and those of `ca_file`, and goes by
/// the proxy of the environment. Reads files: blocks shortly.
///
/// # Errors
/// There is no CA to believe, or the file can't be used.
#[expect(dead_code, reason = "the log service's client is its first user")]
pub(crate) fn client<B>(ca_file: Option<&Path>) -> Result<HttpsClient<B>, TrustError>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Ok(client_by(Way::of_environment(), system_and(ca_file, None)?))
}

fn client_by<B>(way: Way, trust: rustls::ClientConfig) -> HttpsClient<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust)
        .https_or_http()
        .enable_http1()
        .wrap_connector(way);
    Client::builder(TokioExecutor::new()).build(connector)
}

#[cfg(test)]
mod tests;
