//! An instance's metadata service, version 2, as cloud-init and our agent read
//! it: a session's token first, then texts and listings of folders.
//!
//! By "Instance metadata categories" and "Use IMDSv2" of the EC2 user guide. A
//! real one is at 169.254.169.254 on every host, and knows by the wire who
//! asks. This one is on the address that it is given, and tells of the one
//! instance that was [begun](MetadataService::tell_of) last: give it that address
//! in a network namespace where one instance runs at a time. There are no
//! credentials of a role, and a token has no end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Birth;

/// Every session's.
const TOKEN: &str = "AQAEAFAKE0000000000000000000000000000000000000000000000000==";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The metadata service of one instance at a time.
#[derive(Debug)]
pub struct MetadataService {
    told: Arc<Mutex<Texts>>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// What is told, by path without its version.
type Texts = BTreeMap<String, Vec<u8>>;

impl MetadataService {
    /// Listens; every path is not found until there is an instance.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let service = Self {
            told: Arc::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let routes = Router::new()
            .route("/latest/api/token", put(token))
            .route("/{version}", get(listing))
            .route("/{version}/{*path}", get(text))
            .with_state(Arc::clone(&service.told));
        let ends = service.cancel.clone().cancelled_owned();
        service.tasks.spawn(async move {
            let serving = axum::serve(listener, routes).with_graceful_shutdown(ends);
            if let Err(error) = serving.await {
                tracing::error!(%error, "serve instance metadata");
            }
        });
        Ok(service)
    }

    /// From now on it tells of this instance; its network card has `mac`.
    pub fn tell_of(&self, birth: &Birth, mac: &str) {
        *self.told.lock() = texts(birth, mac);
    }

    /// Ends it.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn token(headers: HeaderMap) -> Response {
    let ttl = headers.get(TOKEN_TTL_HEADER);
    let ttl = ttl.and_then(|ttl| ttl.to_str().ok()?.parse().ok());
    match ttl {
        Some(seconds @ 1..=21_600_u32) => {
            ([(TOKEN_TTL_HEADER, seconds.to_string())], TOKEN).into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn listing(told: State<Arc<Mutex<Texts>>>, headers: HeaderMap) -> Response {
    answer(&told.lock(), "", &headers)
}

async fn text(
    told: State<Arc<Mutex<Texts>>>,
    Path((_, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(&told.lock(), &path, &headers)
}

fn answer(told: &Texts, path: &str, headers: &HeaderMap) -> Response {
    if headers.get(TOKEN_HEADER).is_none_or(|token| token != TOKEN) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match look_up(told, path) {
        Some(found) => found.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A text, or the names in a folder, each on a line; folders with a slash.
fn look_up(told: &Texts, path: &str) -> Option<Vec<u8>> {
    let path = path.trim_end_matches('/');
    if let Some(text) = told.get(path) {
        return Some(text.clone());
    }
    let folder = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let within = told.keys().filter_map(|key| key.strip_prefix(&folder));
    let names: BTreeSet<String> = within
        .map(|rest| match rest.split_once('/') {
            Some((name, _)) => format!("{name}/"),
            None => rest.to_owned(),
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    Some(Vec::from_iter(names).join("\n").into_bytes())
}

/// All that is told of an instance.
fn texts(birth: &Birth, mac: &str) -> Texts {
    let address = birth.private_address.to_string();
    let name = format!("ip-{}.ec2.internal", address.replace('.', "-"));
    let document = json!({
        "accountId": birth.account,
        "architecture": "x86_64",
        "availabilityZone": birth.zone,
        "imageId": birth.image,
        "instanceId": birth.instance,
        "instanceType": birth.instance_type,
        "privateIp": address,
        "region": birth.region,
        "version": "2017-09-30",
    });
    let of_instance = [
        ("ami-id", birth.image.as_str()),
        ("ami-launch-index", "0"),
        ("hostname", &name),
        ("instance-action", "none"),
        ("instance-id", &birth.instance),
        ("instance-life-cycle", "on-demand"),
        ("instance-type", &birth.instance_type),
        ("local-hostname", &name),
        ("local-ipv4", &address),
        ("mac", mac),
        ("placement/availability-zone", &birth.zone),
        ("placement/region", &birth.region),
        ("security-groups", "default"),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
    ];
    let of_card = [
        ("device-number", "0"),
        ("local-hostname", &name),
        ("local-ipv4s", &address),
        ("mac", mac),
        ("owner-id", &birth.account),
    ];
    let of_card = of_card.map(|(key, text)| {
        let key = format!("meta-data/network/interfaces/macs/{mac}/{key}");
        (key, text.into())
    });
    let mut told: Texts = of_instance
        .map(|(key, text)| (format!("meta-data/{key}"), text.into()))
        .into();
    told.extend(of_card);
    let document = document.to_string().into_bytes();
    told.insert("dynamic/instance-identity/document".to_owned(), document);
    if let Some(data) = &birth.user_data {
        told.insert("user-data".to_owned(), data.to_vec());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::Cause;

    const MAC: &str = "06:00:00:00:00:01";

    fn told() -> Texts {
        let birth = Birth {
            instance: "i-1".into(),
            account: "111122223333".into(),
            region: "eu-west-1".into(),
            zone: "eu-west-1a".into(),
            instance_type: "m6i.large".into(),
            image: "ami-1".into(),
            private_address: [127, 1, 0, 4].into(),
            user_data: Some(Arc::from(&b"#cloud-config"[..])),
            cause: Cause::Launched,
        };
        texts(&birth, MAC)
    }

    #[test]
    fn texts_and_folders_are_found_with_and_without_a_slash() {
        let said = |path: &str| {
            let found = look_up(&told(), path)?;
            Some(String::from_utf8(found).expect("text"))
        };
        for (path, expected) in [
            ("", Some("dynamic/\nmeta-data/\nuser-data")),
            ("user-data/", Some("#cloud-config")),
            ("meta-data/instance-id", Some("i-1")),
            (
                "meta-data/network/interfaces/macs/",
                Some("06:00:00:00:00:01/"),
            ),
            ("meta-data/placement", Some("availability-zone\nregion")),
            ("meta-data/spot/instance-action", None),
            ("meta", None),
        ] {
            assert_eq!(said(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn nothing_is_told_without_a_token() {
        let mut headers = HeaderMap::new();
        let status = |headers: &HeaderMap| answer(&told(), "user-data", headers).status();
        assert_eq!(status(&headers), StatusCode::UNAUTHORIZED);
        headers.insert(TOKEN_HEADER, TOKEN.parse().expect("a header's value"));
        assert_eq!(status(&headers), StatusCode::OK);
    }
}
