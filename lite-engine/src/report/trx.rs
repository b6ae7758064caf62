//! Visual Studio's test results: results first, and apart from them, later,
//! the definitions that say which class each test is of.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use super::xml::{Document, Element, Item, XmlError};
use super::{Case, Limits, Outcome};

/// Calls `add` with each test's result at the end of the document, or where it breaks off.
pub(super) fn read<R: Read>(
    document: &mut Document<R>,
    limits: &Limits,
    add: &mut impl FnMut(Case),
) -> Result<(), XmlError> {
    let mut run = Run::default();
    let read = run.read(document, limits, add);
    for (id, case) in run.results {
        add(named(case, run.classes.get(&id)));
    }
    read
}

#[derive(Default)]
struct Run {
    name: String,
    /// Results by their test's id, until the classes are known.
    results: Vec<(String, Case)>,
    classes: HashMap<String, Class>,
    /// Results that say something.
    texts: usize,
}

struct Class {
    name: String,
    storage: String,
}

impl Run {
    fn read<R: Read>(
        &mut self,
        document: &mut Document<R>,
        limits: &Limits,
        add: &mut impl FnMut(Case),
    ) -> Result<(), XmlError> {
        let mut root = true;
        loop {
            match document.next()? {
                Item::Start(element) if root => {
                    if element.name() != "TestRun" {
                        return Err(XmlError::OtherRoot);
                    }
                    self.name = element.attribute("name");
                    root = false;
                }
                Item::Start(element) => match element.name() {
                    "Results" | "TestDefinitions" => {}
                    name if name.ends_with("Result") => {
                        let begun = begin(&element, &self.name);
                        let mut leaves = Vec::new();
                        result(document, begun, &mut leaves)?;
                        for mut leaf in leaves {
                            self.texts += usize::from(leaf.1.says_something());
                            if self.texts > limits.failures {
                                leaf.1.forget_texts();
                            }
                            if self.results.len() < limits.waiting {
                                self.results.push(leaf);
                            } else {
                                // Counted at once, without its class.
                                add(leaf.1);
                            }
                        }
                    }
                    name if name.ends_with("Test") => {
                        let id = element.attribute("id");
                        let storage = element.attribute("storage");
                        let name = class_of(document)?;
                        if self.classes.len() < limits.waiting {
                            self.classes.insert(id, Class { name, storage });
                        }
                    }
                    _ => document.skip()?,
                },
                Item::End => {}
                Item::Over => return Ok(()),
            }
        }
    }
}

fn named(mut case: Case, class: Option<&Class>) -> Case {
    if let Some(class) = class {
        case.class.clone_from(&class.name);
        if !class.storage.is_empty() {
            let file = class.storage.rsplit(['/', '\\']).next();
            file.unwrap_or_default().clone_into(&mut case.suite);
        }
    }
    case
}

fn begin(element: &Element, run: &str) -> (String, Case) {
    let case = Case {
        suite: run.to_owned(),
        class: String::new(),
        name: element.attribute("testName"),
        outcome: outcome(&element.attribute("outcome")),
        duration: duration(&element.attribute("duration")),
        message: String::new(),
        details: String::new(),
    };
    (element.attribute("testId"), case)
}

fn outcome(text: &str) -> Outcome {
    match text {
        "Passed" | "Completed" | "Warning" | "PassedButRunAborted" => Outcome::Passed,
        "Failed" | "Timeout" | "Aborted" => Outcome::Failed,
        "Error" => Outcome::Error,
        _ => Outcome::Skipped,
    }
}

/// `00:01:02.5000000`, with days before it as `1.00:01:02`; anything else is no time.
fn duration(text: &str) -> Duration {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let [hours, minutes, seconds] = parts[..] else {
        return Duration::ZERO;
    };
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let whole = |text: &str| text.parse::<u32>().ok();
    let read = || {
        let whole_minutes = (u64::from(whole(days)?) * 24 + u64::from(whole(hours)?)) * 60
            + u64::from(whole(minutes)?);
        let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
        Duration::from_secs(whole_minutes * 60).checked_add(seconds)
    };
    read().unwrap_or_default()
}

/// Reads a result to its end; one with inner results, as of a test with rows of
/// data, is its inner ones. They may be nested, within the document's limit.
fn result<R: Read>(
    document: &mut Document<R>,
    begun: (String, Case),
    leaves: &mut Vec<(String, Case)>,
) -> Result<(), XmlError> {
    let mut open = vec![(document.depth(), leaves.len(), begun)];
    while let Some((inside, before, (_, case))) = open.last_mut() {
        match document.next()? {
            Item::Start(element) => match element.name() {
                "Output" | "ErrorInfo" | "InnerResults" => {}
                "Message" => {
                    document.skip()?;
                    case.message = document.take_text();
                }
                "StackTrace" => {
                    document.skip()?;
                    case.details = document.take_text();
                }
                name if name.ends_with("Result") => {
                    let inner = begin(&element, &case.suite);
                    open.push((document.depth(), leaves.len(), inner));
                }
                _ => document.skip()?,
            },
            Item::End if document.depth() < *inside => {
                let leaf = leaves.len() == *before;
                if let Some((_, _, done)) = open.pop()
                    && leaf
                {
                    leaves.push(done);
                }
            }
            Item::End => {}
            Item::Over => return Err(XmlError::BreaksOff),
        }
    }
    Ok(())
}

/// Reads a definition to its end; the class of its method.
fn class_of<R: Read>(document: &mut Document<R>) -> Result<String, XmlError> {
    let inside = document.depth();
    let mut class = String::new();
    loop {
        match document.next()? {
            Item::Start(element) => {
                if element.name() == "TestMethod" {
                    // With the assembly after a comma.
                    let name = element.attribute("className");
                    name.split(',')
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .clone_into(&mut class);
                }
                document.skip()?;
            }
            Item::End if document.depth() < inside => return Ok(class),
            Item::End => {}
            Item::Over => return Err(XmlError::BreaksOff),
        }
    }
}
