//! Tokens that steps get for their workload identities.
//!
//! The agent keeps the token by which others are made, and gives a step a
//! handle: with it, and only while it runs, the step asks for tokens that were
//! agreed for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vmpool_proto::incumbent::{MintAnswer, MintRequest, StartStepRequest, WorkloadIdentity};

use super::outbound;

/// The steps that may ask.
pub(super) struct Identities {
    url: String,
    by_handle: Mutex<HashMap<String, Arc<StartStepRequest>>>,
}

/// Shows no handles.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("url", &self.url)
            .field("steps", &self.by_handle.lock().len())
            .finish()
    }
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    /// No step that runs has this handle, or not under this name.
    Unknown,
    /// It is asked for another audience than was agreed.
    Audience,
    /// The service gave none.
    Failed,
}

impl NoToken {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Audience => StatusCode::FORBIDDEN,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Unknown => "unknown workload identity",
            Self::Audience => "audience_override is not the audience of this workload identity",
            Self::Failed => "failed to mint workload identity token",
        }
    }
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    audience: &'a str,
    token_mode: &'a str,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    #[serde(default)]
    expires_in: u64,
}

/// A handle that nobody can guess, for a step that has identities.
pub(super) fn handle_for(request: &StartStepRequest) -> Result<Option<String>, Unspecified> {
    if request.workload_identities.is_empty() {
        return Ok(None);
    }
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok(Some(hex.collect()))
}

impl Identities {
    /// Steps are told to ask at `url`.
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            by_handle: Mutex::default(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The step with this handle runs.
    pub(super) fn register(&self, handle: &str, request: Arc<StartStepRequest>) {
        self.by_handle.lock().insert(handle.to_owned(), request);
    }

    /// The step with this handle is over.
    pub(super) fn forget(&self, handle: &str) {
        self.by_handle.lock().remove(handle);
    }

    /// Gets a token for a step.
    pub(super) async fn mint(&self, request: &MintRequest) -> Result<MintAnswer, NoToken> {
        let step = self.by_handle.lock().get(&request.handle).cloned();
        let step = step.ok_or(NoToken::Unknown)?;
        let identities = &step.workload_identities;
        let identity = match (request.name.as_str(), identities.as_slice()) {
            ("", [only]) => Some(only),
            (name, identities) => identities.iter().find(|identity| identity.name == name),
        };
        let identity = identity.ok_or(NoToken::Unknown)?;
        let wanted = &request.audience_override;
        if !wanted.is_empty() && *wanted != identity.audience {
            return Err(NoToken::Audience);
        }
        let token = fetch(&step.wi_token_generate_url, identity).await;
        let token = token.map_err(|reason| {
            tracing::warn!(step = step.id, reason, "get a token for a step");
            NoToken::Failed
        })?;
        let expires = SystemTime::now() + Duration::from_secs(token.expires_in.min(1 << 32));
        let expires = expires.duration_since(SystemTime::UNIX_EPOCH);
        Ok(MintAnswer {
            oidc_token: token.token,
            expires_at_unix: expires
                .ok()
                .and_then(|at| i64::try_from(at.as_secs()).ok())
                .unwrap_or(0),
        })
    }
}

/// The error shows nothing of the token.
async fn fetch(url: &str, identity: &WorkloadIdentity) -> Result<Token, String> {
    let body = TokenRequest {
        audience: &identity.audience,
        token_mode: &identity.token_mode,
    };
    let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("Workload-Token", &identity.workload_token)
        .body(Full::from(body))
        .map_err(|_| "the URL or the workload token can't be sent")?;
    let answer = outbound::call(request)
        .await
        .map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!(
            "the service answers with status {}",
            answer.status()
        ));
    }
    serde_json::from_slice(answer.body()).map_err(|_| "the service answers with no token".into())
}
