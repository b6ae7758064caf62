//! Typed access to the node tree: every accessor either gives the value or
//! reports what was expected, what was found, and where.
//!
//! Accessors return `None` for an error that they have reported, so that one
//! reading of a file finds all of its mistakes; whoever holds the [`Report`]
//! looks at its errors in the end. A key whose value is nothing (`depends_on:`)
//! counts as absent, as in Drone.

use std::time::Duration;

use crate::diagnostic::{Place, Report, did_you_mean, is_unprintable, join, nearest, quoted};
use crate::duration::parse_duration;
use crate::keys::{EXTENSION, Keys, MEANT};
use crate::parse::Dialect;
use crate::yaml::{Entry, Node, Value};

/// Reads one file's tree and keeps what it finds wrong.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) report: Report,
    pub(crate) dialect: Dialect,
}

/// A node and the path that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct At<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
}

/// A map whose keys have been checked.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'n> {
    place: Place,
    path: String,
    entries: &'n [Entry],
}

impl Reader {
    pub(crate) fn error(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.report.error(at.node.place, &at.path, message);
    }

    pub(crate) fn warn(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.report.warn(at.node.place, &at.path, message);
    }

    /// What our own format refuses and a foreign one may have.
    pub(crate) fn object(&mut self, at: &At<'_>, message: impl Into<String>) {
        match self.dialect {
            Dialect::Vmpool => self.error(at, message),
            Dialect::Drone => self.warn(at, message),
        }
    }

    fn expected<T>(&mut self, at: &At<'_>, what: &str) -> Option<T> {
        let found = at.node.value.noun();
        self.error(at, format!("expected {what}, found {found}"));
        None
    }

    /// The map at `at`, after a look at its keys.
    pub(crate) fn fields<'n>(&mut self, at: &At<'n>, keys: &Keys) -> Option<Fields<'n>> {
        let Value::Map(entries) = &at.node.value else {
            return self.expected(at, "a map");
        };
        for entry in entries {
            self.check_key(&at.path, entry, keys);
        }
        Some(Fields {
            place: at.node.place,
            path: at.path.clone(),
            entries,
        })
    }

    fn check_key(&mut self, path: &str, entry: &Entry, keys: &Keys) {
        let (key, place) = (entry.key.as_str(), entry.key_place);
        let is_own = keys.own.contains(&key);
        let is_known = keys.known.contains(&key) || is_own && self.dialect == Dialect::Vmpool;
        if is_known || path.is_empty() && key.starts_with(EXTENSION) {
            return;
        }
        if keys.ignored.contains(&key) {
            self.report
                .warn(place, path, format!("{} has no effect here", quoted(key)));
            return;
        }
        if is_own {
            let message = format!("{} has an effect only in .vmpool.yml", quoted(key));
            self.report.warn(place, path, message);
            return;
        }
        let meant = MEANT
            .iter()
            .find(|(from, to)| *from == key && keys.known.contains(to));
        let meant = match meant {
            Some((_, to)) => Some(*to),
            None => nearest(key, keys.known.iter().chain(keys.own).copied()),
        };
        let message = format!("unknown key {}{}", quoted(key), did_you_mean(meant));
        match self.dialect {
            Dialect::Vmpool => self.report.error(place, path, message),
            Dialect::Drone => self.report.warn(place, path, message),
        }
    }

    /// The items of a list, each with its path.
    pub(crate) fn items<'n>(&mut self, at: &At<'n>, what: &str) -> Option<Vec<At<'n>>> {
        let Value::List(items) = &at.node.value else {
            return self.expected(at, what);
        };
        let item = |(n, node)| At {
            node,
            path: format!("{}[{n}]", at.path),
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of a map whose keys are the file's own, each with its path.
    pub(crate) fn entries<'n>(
        &mut self,
        at: &At<'n>,
        what: &str,
    ) -> Option<Vec<(&'n Entry, At<'n>)>> {
        let Value::Map(entries) = &at.node.value else {
            return self.expected(at, what);
        };
        let value = |entry: &'n Entry| At {
            node: &entry.value,
            path: join(&at.path, &entry.key),
        };
        Some(entries.iter().map(|entry| (entry, value(entry))).collect())
    }

    /// A scalar, as written.
    pub(crate) fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.value {
            Value::Scalar(_, text) if text.contains('\0') => {
                self.error(at, "a text can't hold the character NUL");
                None
            }
            Value::Scalar(_, text) => Some(text.clone()),
            Value::Map(entries) if entries.len() == 1 => {
                // The commonest mistake in a list of commands.
                let colon = "a text that has a colon and a space in it must be quoted";
                self.error(at, format!("expected a string, found a map; {colon}"));
                None
            }
            _ => self.expected(at, "a string"),
        }
    }

    /// A list of scalars.
    pub(crate) fn texts(&mut self, at: &At<'_>) -> Option<Vec<String>> {
        let items = self.items(at, "a list of strings")?;
        items.iter().map(|item| self.text(item)).collect()
    }

    /// A name that a person and a terminal can read.
    pub(crate) fn name(&mut self, at: &At<'_>) -> Option<String> {
        let name = self.text(at)?;
        let wrong = if name.trim().is_empty() {
            "a name can't be empty"
        } else if name.chars().count() > 100 {
            "a name has at most 100 characters"
        } else if name.chars().any(is_unprintable) {
            "a name has no control characters"
        } else {
            return Some(name);
        };
        self.error(at, wrong);
        None
    }

    /// True or false, in the words of YAML 1.1, which Drone reads.
    pub(crate) fn flag(&mut self, at: &At<'_>) -> Option<bool> {
        let Value::Scalar(_, text) = &at.node.value else {
            return self.expected(at, "true or false");
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => {
                self.error(
                    at,
                    format!("expected true or false, found {}", quoted(text)),
                );
                None
            }
        }
    }

    /// A whole number from 0 on.
    pub(crate) fn number(&mut self, at: &At<'_>) -> Option<u32> {
        let Value::Scalar(_, text) = &at.node.value else {
            return self.expected(at, "a number");
        };
        let number = text.parse().ok();
        if number.is_none() {
            self.error(
                at,
                format!("expected a whole number, found {}", quoted(text)),
            );
        }
        number
    }

    /// A duration with its unit.
    pub(crate) fn duration(&mut self, at: &At<'_>) -> Option<Duration> {
        let text = self.text(at)?;
        match parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(at, format!("{error}, found {}", quoted(&text)));
                None
            }
        }
    }
}

impl<'n> Fields<'n> {
    /// The value of `key`; nothing counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<At<'n>> {
        let value = &self.entries.iter().find(|entry| entry.key == key)?.value;
        let at = At {
            node: value,
            path: join(&self.path, key),
        };
        (value.value != Value::Null).then_some(at)
    }

    /// Whether `key` is there, be it with nothing.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of `key`, read by `read`.
    pub(crate) fn read<T>(
        &self,
        reader: &mut Reader,
        key: &str,
        read: impl FnOnce(&mut Reader, &At<'n>) -> Option<T>,
    ) -> Option<T> {
        read(reader, &self.get(key)?)
    }

    /// As [`read`](Self::read), of a key that only our own dialect has.
    pub(crate) fn read_own<T>(
        &self,
        reader: &mut Reader,
        key: &str,
        read: impl FnOnce(&mut Reader, &At<'n>) -> Option<T>,
    ) -> Option<T> {
        if reader.dialect == Dialect::Vmpool {
            self.read(reader, key, read)
        } else {
            None
        }
    }

    /// As [`read`](Self::read); it is an error if `key` is absent.
    pub(crate) fn require<T>(
        &self,
        reader: &mut Reader,
        key: &str,
        read: impl FnOnce(&mut Reader, &At<'n>) -> Option<T>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            reader
                .report
                .error(self.place, &self.path, format!("`{key}` is missing"));
        }
        self.read(reader, key, read)
    }
}
