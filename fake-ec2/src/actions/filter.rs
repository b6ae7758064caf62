//! `Filter.N`: values of one filter are alternatives, filters must all match.

use crate::cloud::Tags;
use crate::error::ApiError;
use crate::params::Params;
use crate::wildcard::Pattern;

/// The filters of a call.
#[derive(Debug)]
pub(crate) struct Filters(Vec<(String, Vec<Pattern>)>);

impl Filters {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidParameterValue`: one is not among the `known` names or has no
    /// values; `FilterLimitExceeded`: over 200 values.
    pub(crate) fn read(params: &Params, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for filter in params.list("Filter") {
            let name = filter.required("Name")?;
            let tagged = known.contains(&"tag-key") && name.starts_with("tag:");
            if !known.contains(&name) && !tagged {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            }
            let values = filter.texts("Value");
            if values.is_empty() {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{name}' must have a value"),
                ));
            }
            if values.len() > 200 {
                return Err(ApiError::new(
                    "FilterLimitExceeded",
                    "The maximum number of filter values specified on a single call is 200",
                ));
            }
            let patterns = values.into_iter().map(Pattern::new).collect();
            filters.push((name.to_owned(), patterns));
        }
        Ok(Self(filters))
    }

    /// Whether something passes. `field` gives its values by a filter's name;
    /// of those one must match.
    pub(crate) fn pass(&self, tags: &Tags, field: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let values = if let Some(key) = name.strip_prefix("tag:") {
                tags.get(key).cloned().into_iter().collect()
            } else if name == "tag-key" {
                tags.keys().cloned().collect()
            } else {
                field(name)
            };
            values
                .iter()
                .any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        })
    }
}
