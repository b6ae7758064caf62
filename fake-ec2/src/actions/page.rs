//! `MaxResults` and `NextToken`.
//!
//! "Pagination in the Amazon EC2 API" (docs.aws.amazon.com/AWSEC2/latest/
//! APIReference/Query-Requests.html#api-pagination): a token is valid only for
//! the request that it came from, and a page may be short or empty while a
//! token says that there is more.

use std::hash::BuildHasher as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cloud::Context;
use crate::error::ApiError;
use crate::faults::Fault;
use crate::params::Params;

/// One page of what was found.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// Cuts the page that a call asks for out of all, which are sorted by `id`.
///
/// # Errors
/// `InvalidParameterValue`: a size outside of `sizes`; `InvalidPaginationToken`.
pub(crate) fn page<T>(
    context: &mut Context<'_>,
    params: &Params,
    sizes: std::ops::RangeInclusive<usize>,
    mut all: Vec<T>,
    id: impl Fn(&T) -> String,
) -> Result<Page<T>, ApiError> {
    all.sort_by_key(&id);
    let size: Option<usize> = params.number("MaxResults")?;
    if let Some(size) = size
        && !sizes.contains(&size)
    {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between \
                 {} and {}.",
                sizes.start(),
                sizes.end()
            ),
        ));
    }
    let query = fingerprint(params);
    if let Some(token) = params.text("NextToken") {
        let after = read_token(token, &query)?;
        all.retain(|item| id(item) > after);
    }
    let size = size.unwrap_or_else(|| match params.at("NextToken") {
        Some(_) => *sizes.end(),
        None => usize::MAX,
    });
    let shown = if context.fault == Some(Fault::ShortPage) && !all.is_empty() {
        context.rng.usize(..size.min(all.len()))
    } else {
        size
    };
    if shown >= all.len() {
        return Ok(Page {
            items: all,
            next: None,
        });
    }
    // An empty page's token repeats the place from which it was asked.
    let after = match shown.checked_sub(1) {
        Some(last) => id(&all[last]),
        None => match params.text("NextToken") {
            Some(token) => read_token(token, &query)?,
            None => String::new(),
        },
    };
    all.truncate(shown);
    Ok(Page {
        items: all,
        next: Some(STANDARD.encode(format!("{query}:{after}"))),
    })
}

fn fingerprint(params: &Params) -> String {
    let query = params.without(&["NextToken", "MaxResults", "Version"]);
    let digest = foldhash::quality::FixedState::with_seed(0x9a9e).hash_one(query.flatten());
    format!("{digest:016x}")
}

fn read_token(token: &str, query: &str) -> Result<String, ApiError> {
    let invalid = || {
        ApiError::new(
            "InvalidPaginationToken",
            "The specified pagination token is not valid or is expired.",
        )
    };
    let bytes = STANDARD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    match text.split_once(':') {
        Some((of, after)) if of == query => Ok(after.to_owned()),
        _ => Err(invalid()),
    }
}
