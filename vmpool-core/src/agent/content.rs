//! What a call asked for, without its content: one keyed hash a field. Tells a
//! retry from another request of the same id, and names the field (P5).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A keyed hash of one field's value. Keyed, because records of it lie on the
/// machine's disk and a short secret could be guessed from a plain one (P11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

/// The digests of a call's fields by their names on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(BTreeMap<Cow<'static, str>, Digest>);

impl Content {
    /// The content of these fields. Always the same ones for the same kind of
    /// call, absent values included.
    pub fn new(fields: impl IntoIterator<Item = (&'static str, Digest)>) -> Self {
        Self(
            fields
                .into_iter()
                .map(|(name, digest)| (Cow::Borrowed(name), digest))
                .collect(),
        )
    }

    /// The first field, by name, that is not the same in both.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let missing = |in_one: &'a Self, from: &'a Self| {
            in_one.0.keys().find(|name| !from.0.contains_key(*name))
        };
        let changed = self
            .0
            .iter()
            .find(|(name, digest)| other.0.get(*name).is_some_and(|theirs| theirs != *digest));
        [
            changed.map(|(name, _)| name),
            missing(self, other),
            missing(other, self),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|name| &**name)
    }
}
