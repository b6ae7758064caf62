//! JUnit's XML: suites in suites, cases with what became of them.

use std::io::Read;
use std::time::Duration;

use super::xml::{Document, Element, Item, XmlError};
use super::{Case, Outcome};

/// Calls `add` with each complete case.
pub(super) fn read<R: Read>(
    document: &mut Document<R>,
    add: &mut impl FnMut(Case),
) -> Result<(), XmlError> {
    // The names of the open suites, `None` for elements that are none.
    let mut open: Vec<Option<String>> = Vec::new();
    loop {
        match document.next()? {
            Item::Start(element) => match element.name() {
                "testsuites" | "testsuite" => {
                    let name = element.attribute("name");
                    open.push((!name.is_empty()).then_some(name));
                }
                _ if open.is_empty() => return Err(XmlError::OtherRoot),
                "testcase" => {
                    let suite = open.iter().rev().flatten().next();
                    let begun = begin(&element, suite.cloned().unwrap_or_default());
                    add(complete(document, begun)?);
                }
                _ => document.skip()?,
            },
            Item::End => {
                open.pop();
            }
            Item::Over => return Ok(()),
        }
    }
}

fn begin(element: &Element, suite: String) -> Case {
    let not_run = |name: &str, values: &[&str]| {
        values.contains(&element.attribute(name).to_ascii_lowercase().as_str())
    };
    let skipped = not_run("status", &["skipped", "notrun", "disabled"])
        || not_run("result", &["skipped", "suppressed"]);
    Case {
        suite,
        class: element.attribute("classname"),
        name: element.attribute("name"),
        outcome: if skipped {
            Outcome::Skipped
        } else {
            Outcome::Passed
        },
        duration: seconds(&element.attribute("time")),
        message: String::new(),
        details: String::new(),
    }
}

/// Reads the case to its end. Of several failures the first is kept.
fn complete<R: Read>(document: &mut Document<R>, mut case: Case) -> Result<Case, XmlError> {
    let inside = document.depth();
    loop {
        let (outcome, message, kind) = match document.next()? {
            Item::Start(element) => {
                let outcome = match element.name() {
                    "failure" => Some(Outcome::Failed),
                    "error" => Some(Outcome::Error),
                    "skipped" => Some(Outcome::Skipped),
                    // What a rerun said, output, properties.
                    _ => None,
                };
                let Some(outcome) = outcome else {
                    document.skip()?;
                    continue;
                };
                let attribute = |name| element.text_attribute(name);
                (outcome, attribute("message"), attribute("type"))
            }
            Item::End if document.depth() < inside => return Ok(case),
            Item::End => continue,
            Item::Over => return Err(XmlError::BreaksOff),
        };
        document.skip()?;
        let details = document.take_text();
        if matches!(case.outcome, Outcome::Passed)
            || case.message.is_empty() && case.details.is_empty()
        {
            case.outcome = outcome;
            case.message = if message.is_empty() { kind } else { message };
            case.details = details;
        }
    }
}

/// `1.5`, `1,234.56`; anything else is no time.
fn seconds(text: &str) -> Duration {
    let number: Option<f64> = text.trim().replace(',', "").parse().ok();
    number
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or_default()
}
