//! The other end of the protocol: asks an agent, over a connection for each
//! question.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vmpool_proto::incumbent::{Failure, decode};

use super::outbound;
use super::settings::ClientSettings;
use super::trust::{self, TrustError};

/// Asks one agent.
#[derive(Debug)]
pub struct Caller {
    target: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

/// A question got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} of {target}: {reason}")]
pub struct AskError {
    method: Method,
    path: String,
    target: String,
    reason: String,
}

impl Caller {
    /// Asks the agent that these settings name.
    ///
    /// # Errors
    /// Its files can't be used.
    pub fn new(settings: &ClientSettings) -> Result<Self, TrustError> {
        let name = ServerName::try_from(settings.server_name.clone());
        Ok(Self {
            target: settings.target.clone(),
            name: name.map_err(|error| TrustError::Tls {
                reason: format!("SERVER_NAME: {error}"),
            })?,
            tls: Arc::new(trust::client(settings)?),
        })
    }

    /// # Errors
    /// There is no answer, or it is none of success.
    pub async fn get<A: DeserializeOwned + Default>(&self, path: &str) -> Result<A, AskError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// # Errors
    /// There is no answer, or it is none of success.
    pub async fn post<A: DeserializeOwned + Default>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<A, AskError> {
        let body = serde_json::to_vec(question).unwrap_or_default();
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<A: DeserializeOwned + Default>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, AskError> {
        let asked = self.exchange(&method, path, body).await;
        asked.map_err(|reason| AskError {
            method,
            path: path.into(),
            target: self.target.clone(),
            reason,
        })
    }

    async fn exchange<A: DeserializeOwned + Default>(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, String> {
        let tcp = TcpStream::connect(&self.target).await;
        let tcp = tcp.map_err(|error| format!("connect: {error}"))?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(self.name.clone(), tcp)
            .await;
        let stream = stream.map_err(|error| format!("handshake: {error}"))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.target)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = outbound::send(stream, request).await?;
        if answer.status().is_success() {
            return decode(answer.body()).map_err(|error| error.to_string());
        }
        let failure: Failure = decode(answer.body()).unwrap_or_default();
        Err(format!("{}: {}", answer.status(), failure.error_msg))
    }
}
