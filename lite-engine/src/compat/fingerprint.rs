//! By what a step that is asked for again is told from another of the same id.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use vmpool_proto::incumbent::StartStepRequest;

/// Tells whether two requests are the same, and if not, in which field; small,
/// and shows nothing of either.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(BTreeMap<String, [u8; 8]>);

impl Fingerprint {
    /// Of this request.
    pub(super) fn of(request: &StartStepRequest) -> Self {
        let fields = match serde_json::to_value(request) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let hash = |value: serde_json::Value| {
            let hash = digest(&SHA256, value.to_string().as_bytes());
            let mut short = [0; 8];
            short.copy_from_slice(&hash.as_ref()[..8]);
            short
        };
        Self(
            fields
                .into_iter()
                .map(|(name, value)| (name, hash(value)))
                .collect(),
        )
    }

    /// The first field that differs.
    pub(super) fn differs(&self, other: &Self) -> Option<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names
            .into_iter()
            .find(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
    }
}
