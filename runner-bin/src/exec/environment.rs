//! The variables that steps see, in Drone's order, the later over the earlier:
//!
//! 1. a few of this process's own, without which no tool works ([`of_host`]);
//! 2. `--env-file`;
//! 3. the pipeline's `environment`;
//! 4. `CI` and `DRONE_*`;
//! 5. the step's `environment`.
//!
//! A value may be `from_secret` in 3 and 5. One whose secret has no value is
//! empty, as in Drone, and that is warned of.

use std::collections::BTreeMap;

use vmpool_core::Secret;
use vmpool_pipeline::EnvValue;

use super::variables::Secrets;

/// What steps inherit. They run as this user, with this user's tools, and
/// nothing else of the terminal that `vmpool exec` was typed in.
const INHERITED: [&str; 22] = [
    "ALL_PROXY",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Where programs are looked for where this process has no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This process's variables that steps inherit.
pub(super) fn of_host() -> BTreeMap<String, String> {
    let mut env: BTreeMap<_, _> = INHERITED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    env.entry("PATH".to_owned())
        .or_insert_with(|| USUAL_PATH.to_owned());
    env
}

/// A step's own variables, over those of its stage.
#[derive(Debug, Clone, Default)]
pub(super) struct StepEnv {
    /// In the clear.
    pub(super) plain: BTreeMap<String, String>,
    /// From secrets.
    pub(super) secret: BTreeMap<String, Secret>,
    /// Secrets that have no value.
    pub(super) missing: Vec<String>,
}

impl StepEnv {
    /// Puts `environment` over what is there.
    pub(super) fn put(&mut self, environment: &BTreeMap<String, EnvValue>, secrets: &Secrets) {
        for (name, value) in environment {
            self.plain.remove(name);
            self.secret.remove(name);
            match value {
                EnvValue::Plain(text) => {
                    self.plain.insert(name.clone(), text.clone());
                }
                EnvValue::FromSecret(of) => {
                    if let Some(secret) = secrets.get(of) {
                        self.secret.insert(name.clone(), secret.clone());
                    } else {
                        self.plain.insert(name.clone(), String::new());
                        self.missing.push(of.clone());
                    }
                }
            }
        }
    }

    /// Puts a variable of the build under what the step says itself, and over
    /// what the pipeline says.
    pub(super) fn put_build(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            self.secret.remove(&name);
            self.plain.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn secrets() -> Secrets {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "token=hunter2\n").unwrap();
        Secrets::read(&[file.path().into()], &mut Vec::new()).unwrap()
    }

    fn env(list: &[(&str, EnvValue)]) -> BTreeMap<String, EnvValue> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn the_later_goes_over_the_earlier_whether_secret_or_not() {
        let plain = |text: &str| EnvValue::Plain(text.into());
        let from_secret = |name: &str| EnvValue::FromSecret(name.into());
        let mut step = StepEnv::default();
        step.put(
            &env(&[
                ("A", from_secret("token")),
                ("B", plain("1")),
                ("CI", plain("no")),
            ]),
            &secrets(),
        );
        step.put_build([("CI".to_owned(), "true".to_owned())]);
        step.put(
            &env(&[("A", plain("2")), ("B", from_secret("token"))]),
            &secrets(),
        );
        let plain: Vec<_> = step.plain.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(plain, ["A=2", "CI=true"]);
        assert_eq!(step.secret["B"].expose(), "hunter2");
    }

    #[test]
    fn a_secret_without_a_value_is_empty_and_named() {
        let mut step = StepEnv::default();
        step.put(
            &env(&[("A", EnvValue::FromSecret("nope".into()))]),
            &secrets(),
        );
        assert_eq!(step.plain["A"], "");
        assert_eq!(step.missing, ["nope"]);
    }

    #[test]
    fn steps_always_have_a_path() {
        assert!(of_host().contains_key("PATH"));
    }
}
