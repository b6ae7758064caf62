//! Reads JSON as the incumbent's program does: names of fields in any case,
//! `null` for nothing at any place, unknown fields and whatever follows the
//! value passed over.
//!
//! [`reader`] puts these rules around any deserializer; the types need no
//! attribute for them. Keys of maps (variables of an environment) keep their case.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{CowStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// A body is not the JSON that was to be there. The text is what a caller is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is none.
    #[error("EOF")]
    Empty,
    /// It ends before its value does.
    #[error("unexpected EOF")]
    Truncated,
    /// It is no JSON, or a field has another type.
    #[error("json: {0}")]
    Invalid(String),
}

/// Reads a request's body.
///
/// # Errors
/// It is no such value; the text names the field, and shows nothing else of it.
pub fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Err(DecodeError::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value: Result<Option<T>, _> = serde_path_to_error::deserialize(reader(&mut json));
    match value {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) if error.inner().is_eof() => Err(DecodeError::Truncated),
        Err(error) => {
            let path = error.path().to_string();
            let reason = without_values(&error.inner().to_string());
            Err(DecodeError::Invalid(match path.as_str() {
                "." => reason,
                field => format!("{field}: {reason}"),
            }))
        }
    }
}

/// A type error quotes the text that it found; that may be a secret.
fn without_values(reason: &str) -> String {
    match (reason.find("string \""), reason.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}string{}", &reason[..from], &reason[to + 1..])
        }
        _ => reason.to_owned(),
    }
}

/// Puts the incumbent's rules around a deserializer.
pub fn reader<'de, D: Deserializer<'de>>(inner: D) -> impl Deserializer<'de, Error = D::Error> {
    Reader(inner)
}

struct Reader<D>(D);

/// What `null` stands for.
#[derive(Clone, Copy)]
enum Nothing {
    Null,
    False,
    Zero,
    Text,
    List,
    /// With the names of a structure's fields; a map has none.
    Object(&'static [&'static str]),
}

impl<'de, D: Deserializer<'de>> Reader<D> {
    fn read<V: Visitor<'de>>(self, visitor: V, nothing: Nothing) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Found { visitor, nothing })
    }
}

macro_rules! read_as {
    ($($method:ident: $nothing:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.read(visitor, Nothing::$nothing)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<D> {
    type Error = D::Error;

    read_as! {
        deserialize_any: Null,
        deserialize_bool: False,
        deserialize_i8: Zero,
        deserialize_i16: Zero,
        deserialize_i32: Zero,
        deserialize_i64: Zero,
        deserialize_u8: Zero,
        deserialize_u16: Zero,
        deserialize_u32: Zero,
        deserialize_u64: Zero,
        deserialize_f32: Zero,
        deserialize_f64: Zero,
        deserialize_str: Text,
        deserialize_string: Text,
        deserialize_seq: List,
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(visitor, Nothing::Object(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(visitor, Nothing::Object(fields))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Optional(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // It goes over what is nested however deep without a stack for it.
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum identifier
    }
}

struct Optional<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Optional<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Reader(inner))
    }
}

/// What was found goes on to the type's own visitor.
struct Found<V> {
    visitor: V,
    nothing: Nothing,
}

macro_rules! hand_on {
    ($($method:ident: $kind:ty,)*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Found<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    hand_on! {
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_f64: f64,
        visit_str: &str,
        visit_borrowed_str: &'de str,
        visit_string: String,
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        match self.nothing {
            Nothing::Null => self.visitor.visit_unit(),
            Nothing::False => self.visitor.visit_bool(false),
            Nothing::Zero => self.visitor.visit_u64(0),
            Nothing::Text => self.visitor.visit_str(""),
            Nothing::List => self
                .visitor
                .visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Nothing::Object(_) => self
                .visitor
                .visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Items(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let fields = match self.nothing {
            Nothing::Object(fields) => fields,
            _ => &[],
        };
        self.visitor.visit_map(Entries { entries, fields })
    }
}

struct Items<A>(A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Nested(seed))
    }
}

struct Entries<A> {
    entries: A,
    fields: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        if self.fields.is_empty() {
            return self.entries.next_key_seed(seed);
        }
        let Some(key) = self.entries.next_key::<Cow<'de, str>>()? else {
            return Ok(None);
        };
        let same = |name: &&&str| name.eq_ignore_ascii_case(&key);
        let exact = self.fields.iter().find(|name| **name == key);
        let field = exact.or_else(|| self.fields.iter().find(same));
        let name = field.map_or(key, |name| Cow::Borrowed(*name));
        let name: CowStrDeserializer<'_, A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.entries.next_value_seed(Nested(seed))
    }
}

struct Nested<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nested<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Reader(inner))
    }
}
