//! What a plan warns of, gathered: one line for many steps.

use std::collections::{BTreeMap, BTreeSet};

/// What is warned of.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    lines: Vec<String>,
    /// Steps that run without their image.
    images: Vec<String>,
    /// By secret, the steps in which it is empty.
    secrets: BTreeMap<String, BTreeSet<String>>,
}

impl Warnings {
    /// Adds a line of its own.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// What there is to say of a step that will run: the image that it asks for and
    /// does not get, its secrets that have no value.
    pub(super) fn of_step(&mut self, step: &str, image: Option<&str>, missing: &[String]) {
        self.images
            .extend(image.map(|image| format!("{step} ({image})")));
        for secret in missing {
            self.secrets
                .entry(secret.clone())
                .or_default()
                .insert(step.to_owned());
        }
    }

    /// Adds what another pipeline is warned of.
    pub(super) fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.images.extend(other.images);
        for (secret, steps) in other.secrets {
            self.secrets.entry(secret).or_default().extend(steps);
        }
    }

    /// The warnings, a line each.
    pub(super) fn into_lines(self) -> Vec<String> {
        let mut lines = self.lines;
        if !self.images.is_empty() {
            lines.push(format!(
                "without their images, on this host: {}",
                self.images.join(", ")
            ));
        }
        for (secret, steps) in self.secrets {
            let steps = steps.into_iter().collect::<Vec<_>>().join(", ");
            lines.push(format!(
                "the secret {secret} has no value, so it is empty in {steps}; --secret-file gives it one"
            ));
        }
        lines
    }
}
