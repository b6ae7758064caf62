//! Whether new machines find their agent: one HEAD for each address that the
//! environment names; of what the runner itself will offer, whether it is there.

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
use vmpool_pipeline::PoolPlatform;

use crate::serve::agents::Offered;
use crate::serve::pools;

/// An address that has not answered by then counts as wrong.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is named, where it is known.
const CHECK: &str = "agent download";

/// A finding for each address that such a machine would download its agent from.
pub(super) async fn downloads(platform: &PoolPlatform, offered: Option<&Offered>) -> Vec<Finding> {
    let urls = pools::agent(platform, offered).urls;
    let program = pools::program(platform);
    if let Some((url, _)) = offered.and_then(|offered| offered.program(&program))
        && urls.contains(&url)
    {
        let said = format!("the runner offers it at {url}: see that machines reach that address");
        return vec![Finding::new(CHECK, Ok(said))];
    }
    if urls.is_empty() {
        let said = if offered.is_some() {
            format!("--agents has no {program}: add it, or see that the image has the agent")
        } else {
            "see that the image has the agent: neither DRONE_LITE_ENGINE_PATH nor --agents says \
             where it comes from"
                .to_owned()
        };
        return vec![Finding::unknown(CHECK, said)];
    }
    let mut found = Vec::with_capacity(urls.len());
    for url in urls {
        let answered = timeout(PATIENCE, head(&url)).await;
        let result = match answered {
            Ok(Ok(status)) if status < 400 => Ok(format!("answers {status} from this host")),
            Ok(Ok(status)) => Err(format!("answers {status}: mend DRONE_LITE_ENGINE_PATH")),
            Ok(Err(error)) => Err(format!("{error:#}: mend DRONE_LITE_ENGINE_PATH")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        found.push(Finding::new(format!("{CHECK} {url}"), result));
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
