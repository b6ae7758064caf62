//! What a step wants to have shown beside its build, brought to the service
//! that its request names.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tokio_util::sync::CancellationToken;
use vmpool_proto::incumbent::{SetupRequest, StartStepRequest};

use super::outbound;
use super::stage::Stage;

/// The annotations go to `{base}` and this.
const PATH: &str = "/api/pipelines/annotations";

/// What is to be brought, and where.
struct Post {
    request: Arc<StartStepRequest>,
    url: String,
    annotations: Bytes,
}

/// Brings them; the step's answer waits for nobody.
pub(super) fn post_in_background(
    stage: &Stage,
    closing: CancellationToken,
    request: Arc<StartStepRequest>,
    setup: &SetupRequest,
    annotations: Vec<u8>,
) {
    let own = request.environment();
    let value = |name: &str| own.get(name).or_else(|| setup.envs.get(name)).cloned();
    let account = value("HARNESS_ACCOUNT_ID").unwrap_or_default();
    let execution = value("HARNESS_EXECUTION_ID").unwrap_or_default();
    let base = request.annotations_config.base_url.trim_end_matches('/');
    let post = Arc::new(Post {
        url: format!("{base}{PATH}?accountId={account}&planExecutionId={execution}"),
        annotations: annotations.into(),
        request,
    });
    let once = {
        let post = post.clone();
        move || post.clone().once()
    };
    let retries = ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_times(3);
    stage.uploads.spawn(async move {
        let posted = closing.run_until_cancelled(once.retry(retries)).await;
        if let Some(Err(reason)) = posted {
            let step = &post.request.id;
            tracing::warn!(step, reason, "a step's annotations were not taken");
        }
    });
}

impl Post {
    /// The error shows nothing of the token.
    async fn once(self: Arc<Self>) -> Result<(), String> {
        let token = &self.request.annotations_config.token;
        let question = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Annotations {token}"))
            .body(Full::from(self.annotations.clone()))
            .map_err(|_| "the URL or the token can't be sent")?;
        let answer = outbound::call(question).await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("the service answers with status {status}"))
        }
    }
}
