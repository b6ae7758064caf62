//! What a request of the query protocol says: `Filter.1.Value.2=x` as a tree.
//!
//! EC2's dialect flattens lists (`InstanceId.1`, no `member`), numbers them
//! from 1, and names structures' fields by a dot. Nothing here knows an
//! action; what a parameter means is decided where it is read.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::ApiError;

/// How deep a key may nest. The deepest documented one has seven parts.
const DEEPEST: usize = 12;

/// A value, the fields below it, or (never sent by an SDK) both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    value: Option<String>,
    fields: BTreeMap<String, Params>,
}

impl Params {
    /// Reads a form-encoded body.
    ///
    /// # Errors
    /// `InvalidParameter` where a key is empty or nests too deep.
    pub fn parse(form: &[u8]) -> Result<Self, ApiError> {
        let mut params = Self::default();
        for (key, value) in form_urlencoded::parse(form) {
            params.set(&key, value.into_owned())?;
        }
        Ok(params)
    }

    /// The same from pairs, for tests and for calls that are not made over
    /// HTTP.
    ///
    /// # Errors
    /// As [`Params::parse`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ApiError> {
        let mut params = Self::default();
        for (key, value) in pairs {
            params.set(key, value.to_owned())?;
        }
        Ok(params)
    }

    /// Sets one dotted key; a repeated key's last value counts.
    ///
    /// # Errors
    /// As [`Params::parse`].
    pub fn set(&mut self, key: &str, value: String) -> Result<(), ApiError> {
        let mut at = self;
        for (depth, part) in key.split('.').enumerate() {
            if part.is_empty() || depth >= DEEPEST {
                return Err(ApiError::new(
                    "InvalidParameter",
                    format!("The parameter {key} is not valid"),
                ));
            }
            at = at.fields.entry(part.to_owned()).or_default();
        }
        at.value = Some(value);
        Ok(())
    }

    /// The subtree at a dotted path.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.')
            .try_fold(self, |at, part| at.fields.get(part))
    }

    /// This node's own value.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The value at a dotted path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.value()
    }

    /// The value at a path, which must be there.
    ///
    /// # Errors
    /// `MissingParameter`.
    pub fn required(&self, path: &str) -> Result<&str, ApiError> {
        self.text(path).ok_or_else(|| ApiError::missing(path))
    }

    /// The number at a path.
    ///
    /// # Errors
    /// `InvalidParameterValue`: it is none, or out of the type's range.
    pub fn number<T: FromStr>(&self, path: &str) -> Result<Option<T>, ApiError> {
        self.text(path)
            .map(|text| text.parse().map_err(|_| ApiError::invalid(path, text)))
            .transpose()
    }

    /// The boolean at a path.
    ///
    /// # Errors
    /// `InvalidParameterValue`: neither `true` nor `false`.
    pub fn flag(&self, path: &str) -> Result<Option<bool>, ApiError> {
        match self.text(path) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid(path, other)),
        }
    }

    /// The list at a path, in the order of its numbers (10 after 9).
    pub fn list(&self, path: &str) -> Vec<&Self> {
        let Some(at) = self.at(path) else {
            return Vec::new();
        };
        let mut numbered: Vec<(u32, &Self)> = at
            .fields
            .iter()
            .filter_map(|(key, item)| Some((key.parse().ok()?, item)))
            .collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, item)| item).collect()
    }

    /// The list of plain values at a path.
    pub fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path)
            .into_iter()
            .filter_map(Self::value)
            .collect()
    }

    /// The names directly below.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// This tree without some of its top-level names.
    pub fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        for name in names {
            rest.fields.remove(*name);
        }
        rest
    }

    /// This tree on top of another: a top-level name that is here hides the
    /// other's whole. So a launch request is laid over its launch template.
    pub fn over(&self, base: &Self) -> Self {
        let mut merged = base.clone();
        for (name, field) in &self.fields {
            merged.fields.insert(name.clone(), field.clone());
        }
        merged
    }

    /// Dotted keys and values again.
    pub fn flatten(&self) -> BTreeMap<String, String> {
        let mut flat = BTreeMap::new();
        self.flatten_into(&mut String::new(), &mut flat);
        flat
    }

    fn flatten_into(&self, path: &mut String, flat: &mut BTreeMap<String, String>) {
        if let Some(value) = &self.value {
            flat.insert(path.clone(), value.clone());
        }
        for (name, field) in &self.fields {
            let end = path.len();
            if end > 0 {
                path.push('.');
            }
            path.push_str(name);
            field.flatten_into(path, flat);
            path.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_keep_the_order_of_their_numbers() {
        let params = Params::parse(
            b"Action=DescribeInstances&Filter.1.Name=tag%3Apool&Filter.1.Value.10=z\
              &Filter.1.Value.2=b+c&Filter.1.Value.1=a&Filter.2.Name=vpc-id",
        )
        .unwrap();
        let filters = params.list("Filter");
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[0].text("Name"), Some("tag:pool"));
        assert_eq!(filters[0].texts("Value"), ["a", "b c", "z"]);
        assert_eq!(params.text("Action"), Some("DescribeInstances"));
    }

    #[test]
    fn flattening_gives_back_the_keys_that_came() {
        let pairs = [
            ("A", "1"),
            ("B.1.C", "2"),
            ("B.2.C", ""),
            ("B.2.D.1", "three"),
        ];
        let flat = Params::from_pairs(pairs).unwrap().flatten();
        let expected: BTreeMap<_, _> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(flat, expected);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for key in ["", ".", "A..B", "A.", &["a"; 40].join(".")] {
            assert!(Params::from_pairs([(key, "x")]).is_err(), "{key}");
        }
    }

    #[test]
    fn a_request_laid_over_its_template_hides_whole_names() {
        let template = Params::from_pairs([("Placement.AvailabilityZone", "a"), ("KeyName", "k")]);
        let request = Params::from_pairs([("Placement.Tenancy", "default")]);
        let both = request.unwrap().over(&template.unwrap());
        assert_eq!(both.text("Placement.AvailabilityZone"), None);
        assert_eq!(both.text("Placement.Tenancy"), Some("default"));
        assert_eq!(both.text("KeyName"), Some("k"));
    }
}
