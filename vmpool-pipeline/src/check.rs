//! What no single field can tell: that names are unique, that `depends_on`
//! names something, and that there is a first step.

use std::collections::BTreeMap;

use crate::diagnostic::{Place, Report, did_you_mean, join, nearest, quoted};
use crate::fields::At;
use crate::graph::cycle;

/// The step that Drone adds by itself; steps may depend on it.
pub(crate) const CLONE: &str = "clone";

/// A step or a pipeline: its name, and what it depends on.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) depends_on: Vec<Dependency>,
    place: Place,
    path: String,
}

/// A name in a `depends_on`.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) path: String,
}

impl Declared {
    pub(crate) fn new(name: &str, at: &At<'_>, depends_on: Vec<Dependency>) -> Self {
        Self {
            name: name.to_owned(),
            depends_on,
            place: at.node.place,
            path: at.path.clone(),
        }
    }
}

/// The names alone.
pub(crate) fn names(depends_on: &[Dependency]) -> Vec<String> {
    depends_on
        .iter()
        .map(|dependency| dependency.name.clone())
        .collect()
}

/// Reports what is wrong with `declared`, called `noun`. The names in `besides`
/// may be depended on without being declared.
pub(crate) fn check(report: &mut Report, noun: &str, declared: &[Declared], besides: &[&str]) {
    let mut known = BTreeMap::new();
    for (n, one) in declared.iter().enumerate() {
        // A missing name has been reported where it is missing.
        if one.name.is_empty() {
            continue;
        }
        if let Some(first) = known.insert(one.name.as_str(), n) {
            let first: &Declared = &declared[first];
            let name = quoted(&one.name);
            let message = format!(
                "the {noun} {name} is there twice, first in line {}",
                first.place.line
            );
            report.error(one.place, &join(&one.path, "name"), message);
        }
    }
    let mut edges = vec![Vec::new(); declared.len()];
    for (n, one) in declared.iter().enumerate() {
        for dependency in &one.depends_on {
            match known.get(dependency.name.as_str()) {
                Some(&on) => edges[n].push(on),
                None if besides.contains(&dependency.name.as_str()) => {}
                // Looking for the nearest of many names takes its time.
                None if report.is_full() => {}
                None => {
                    let meant = nearest(&dependency.name, known.keys().copied());
                    let name = quoted(&dependency.name);
                    let message = format!("there is no {noun} {name}{}", did_you_mean(meant));
                    report.error(dependency.place, &dependency.path, message);
                }
            }
        }
    }
    if let Some(around) = cycle(&edges) {
        let names: Vec<_> = around.iter().map(|&n| quoted(&declared[n].name)).collect();
        let first = &declared[around[0]];
        let message = format!("the {noun}s wait for each other: {}", names.join(" after "));
        report.error(first.place, &join(&first.path, "depends_on"), message);
    }
}
