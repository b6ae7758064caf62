//! The environment that a runner is started with: this process's, and below it
//! that of `--envfile`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

/// Read by the incumbent in silence, and by us not at all.
const DOTENV: &str = ".env";

/// Variables. Values may be secrets, so there is no `Debug`.
pub(super) struct Environment {
    all: BTreeMap<String, String>,
    /// Those of the file that were not set before.
    added: BTreeMap<String, String>,
    /// There is a file that the incumbent would have read.
    pub(super) has_dotenv: bool,
}

impl Environment {
    /// # Errors
    /// The file can't be read, or has a line that is no variable.
    pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut added = BTreeMap::new();
        if let Some(file) = file {
            let attempted = || format!("--envfile {}", file.display());
            for variable in dotenvy::from_path_iter(file).with_context(attempted)? {
                let (name, value) = variable.map_err(line).with_context(attempted)?;
                if std::env::var_os(&name).is_none() {
                    added.insert(name, value);
                }
            }
        }
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Self {
            all: ours.chain(added.clone()).collect(),
            added,
            has_dotenv: Path::new(DOTENV).is_file(),
        })
    }

    /// A variable that is set, and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.all.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// All that are set, and not empty.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let set = self.all.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, _)| name.as_str())
    }

    /// What the file adds to this process's environment.
    pub(super) fn added(&self) -> &BTreeMap<String, String> {
        &self.added
    }

    #[cfg(test)]
    pub(super) fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let all = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            all: all.into(),
            added: BTreeMap::new(),
            has_dotenv: false,
        }
    }
}

/// A line that is no variable, which may be a secret, is not shown (P11).
fn line(error: dotenvy::Error) -> anyhow::Error {
    match error {
        dotenvy::Error::Io(error) => error.into(),
        _ => anyhow::anyhow!("a line is not of the form NAME=VALUE"),
    }
}
