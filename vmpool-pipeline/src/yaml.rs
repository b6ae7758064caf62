//! YAML text to a tree of nodes that know their place.
//!
//! serde-saphyr does the reading: anchors, aliases, merge keys, several
//! documents, and budgets that end a hostile file with an error. The tree is
//! there because a typed deserializer can say neither which field it was in
//! nor how a scalar was written.
//!
//! Invariants:
//! - A scalar keeps the text as written (`on`, `1.10`, `0x1f`): YAML decides
//!   only its kind, the text comes from the source.
//! - An aliased or merged node has the place of its definition, where the
//!   mistake is to be mended.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapSlot;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use crate::diagnostic::{Place, printable, quoted};
use crate::model::ScalarKind;

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// How deep lists and maps may nest; a pipeline needs about eight.
const MAX_DEPTH: usize = 32;
/// How many nodes a file may have, aliases expanded.
const MAX_NODES: usize = 100_000;
/// How much text all its scalars may have, aliases expanded, in bytes.
const MAX_SCALAR_BYTES: usize = 8 << 20;

/// One value of the file and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// A scalar, as written.
    Scalar(ScalarKind, String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// What a map has under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }
}

impl Value {
    /// What a message calls this value.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(ScalarKind::Bool, _) => "true or false",
            Self::Scalar(ScalarKind::Number, _) => "a number",
            Self::Scalar(ScalarKind::Text, _) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Why a text can't be read as YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) place: Place,
    pub(crate) message: String,
    /// The same key twice in a map: harmless to readers that let the last win.
    pub(crate) duplicate_key: bool,
}

/// What to do about the same key twice in one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    Refuse,
    LastWins,
}

/// Reads the documents of `text`; empty ones are left out.
pub(crate) fn documents(text: &str, duplicates: Duplicates) -> Result<Vec<Node>, Unreadable> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        duplicate_keys: match duplicates {
            Duplicates::Refuse => DuplicateKeyPolicy::Error,
            Duplicates::LastWins => DuplicateKeyPolicy::LastWins,
        },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: MAX_SCALAR_BYTES,
            max_recorded_anchor_events: 4 * MAX_NODES,
            max_recorded_anchor_bytes: MAX_SCALAR_BYTES,
            // The limits above bound what aliases can do; many aliases of few
            // anchors are just what a tidy pipeline file has.
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(text, options)
        .map(|documents| documents.into_iter().map(|raw| node(raw, text)).collect())
        .map_err(|error| unreadable(&error))
}

/// A node as the visitor sees it: kinds without the text as written.
enum Raw {
    Null,
    Typed(ScalarKind),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let place = Place {
        line: raw.defined.line(),
        column: raw.defined.column(),
    };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Typed(kind) => Value::Scalar(kind, as_written(raw.defined, text)),
        Raw::Text(written) => Value::Scalar(ScalarKind::Text, written),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(map(entries, text)),
    };
    Node { place, value }
}

/// The entries of a map; of two with the same key the last one stands.
fn map(raw: Vec<(Spanned<String>, Spanned<Raw>)>, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
    let mut index = HashMap::with_capacity(raw.len());
    for (key, value) in raw {
        let key_place = Place {
            line: key.defined.line(),
            column: key.defined.column(),
        };
        let entry = Entry {
            key: key.value,
            key_place,
            value: node(value, text),
        };
        match index.entry(entry.key.clone()) {
            MapSlot::Occupied(at) => entries[*at.get()] = entry,
            MapSlot::Vacant(slot) => {
                slot.insert(entries.len());
                entries.push(entry);
            }
        }
    }
    entries
}

/// The source of a plain scalar, which is its text: only numbers and booleans
/// come here, and those have no escapes and stand on one line.
fn as_written(location: serde_saphyr::Location, text: &str) -> String {
    let span = location.span();
    let bytes = span
        .byte_offset()
        .zip(span.byte_len())
        .and_then(|(start, len)| {
            let start = usize::try_from(start).ok()?;
            text.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        });
    // With a tag like `!!int "7"` even these may be quoted.
    bytes
        .unwrap_or_default()
        .trim_matches(['"', '\''])
        .to_owned()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Bool))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn unreadable(error: &Error) -> Unreadable {
    let place = error.location().map_or(Place::UNKNOWN, |at| Place {
        line: at.line(),
        column: at.column(),
    });
    let error = innermost(error);
    let message = match error {
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("the key {} is there twice", quoted(key)),
            None => "a key is there twice".into(),
        },
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is too large or nests too deep, its aliases included".into()
        }
        Error::UnknownAnchor { .. } => "the alias names no anchor that stands before it".into(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "the anchor contains itself".into(),
        Error::NullIntoString { .. } => "a key can't be empty".into(),
        Error::Unexpected {
            expected: "string scalar",
            ..
        } => "a key must be a string; a value that begins with { or [ must be quoted".into(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "`<<` takes a map or a list of maps, usually an alias".into()
        }
        Error::InvalidScalar { .. } => "the value is not what its tag says".into(),
        other => printable(&UserMessageFormatter.format_message(other)),
    };
    Unreadable {
        place,
        message,
        duplicate_key: matches!(error, Error::DuplicateMappingKey { .. }),
    }
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

#[cfg(test)]
mod tests;
