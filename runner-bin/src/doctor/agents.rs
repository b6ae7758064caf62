//! Whether new machines find their agent: one HEAD for each address.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use vmpool_aws::checkup::Finding;

/// An address that has not answered by then counts as wrong.
const PATIENCE: Duration = Duration::from_secs(15);

/// A finding for each address that a machine of the pool would download its
/// agent from.
pub(super) async fn downloads(urls: &[String]) -> Vec<Finding> {
    if urls.is_empty() {
        let said = "the environment names none (DRONE_LITE_ENGINE_PATH): the image has the agent, \
                    or the runner offers it (--agents)";
        return vec![Finding::new("agent download", Ok(said.to_owned()))];
    }
    let mut found = Vec::with_capacity(urls.len());
    for url in urls {
        let answered = timeout(PATIENCE, head(url)).await;
        let result = match answered {
            Ok(Ok(status)) if status < 400 => Ok(format!("answers {status} from this host")),
            Ok(Ok(status)) => Err(format!("answers {status}: mend DRONE_LITE_ENGINE_PATH")),
            Ok(Err(error)) => Err(format!("{error:#}: mend DRONE_LITE_ENGINE_PATH")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        found.push(Finding::new(format!("agent download {url}"), result));
    }
    found
}

async fn head(url: &str) -> anyhow::Result<u16> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .context("read this host's certificates")?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::head(url).body(Empty::<Bytes>::new());
    let answer = client.request(request.context("it is no address")?).await?;
    Ok(answer.status().as_u16())
}
