//! Every variable of the incumbent's that a delegate may have set, and what
//! becomes of it. The documentation's table is made of this one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::environment::Environment;

/// The host's name.
const HOST: &str = "/proc/sys/kernel/hostname";

/// What becomes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// What it says is done.
    Honoured,
    /// It is done in another way, or need not be: said once at the start.
    Told,
    /// It can't be done where it is `true`: the runner does not start.
    Refused,
    /// Of another command of the incumbent's.
    NotOurs,
}

use Becomes::{Honoured, NotOurs, Refused, Told};

/// One variable, or all that begin so where the name ends with `*`.
struct Variable {
    name: &'static str,
    becomes: Becomes,
    /// A sentence, which begins with a verb.
    how: &'static str,
}

const fn variable(name: &'static str, becomes: Becomes, how: &'static str) -> Variable {
    Variable { name, becomes, how }
}

/// The first one that fits counts.
const TABLE: &[Variable] = &[
    variable(
        "DRONE_HTTP_BIND",
        Honoured,
        "is where the runner listens (`--listen`); unset, that is 127.0.0.1:3000, where the incumbent listens on every address",
    ),
    variable(
        "DRONE_HTTP_*",
        Told,
        "has no effect, as with the incumbent's delegate",
    ),
    variable(
        "DRONE_RUNNER_NAME",
        Honoured,
        "is the deployment's name (`--deployment`), which machines are tagged with; unset, it is the host's name, with `runner-` before it where that begins with no letter",
    ),
    variable(
        "DRONE_RUNNER_HA",
        Told,
        "is not needed: no end of a runner ends a build, and several runners share a pool by `--journal`",
    ),
    variable(
        "DRONE_RUNNER_VOLUMES",
        Told,
        "is checked, and has no effect yet: volumes are for steps in containers, and steps on the machine see its own paths",
    ),
    variable("DRONE_RUNNER_*", NotOurs, "is for the incumbent's `daemon`"),
    variable(
        "DRONE_REUSE_POOL",
        Told,
        "is not needed: warm machines and running builds always outlive the runner",
    ),
    variable(
        "DRONE_SETTINGS_BUSY_MAX_AGE",
        Told,
        "is checked; a stage ends by its own `timeout`, else by `deadlines.stage` of its pool (12 h)",
    ),
    variable(
        "DRONE_SETTINGS_FREE_MAX_AGE",
        Told,
        "is checked; machines are replaced at `max_age` of their pool (72 h)",
    ),
    variable(
        "DRONE_SETTINGS_FREE_CAPACITY_MAX_AGE",
        Told,
        "is checked; no capacity is reserved",
    ),
    variable(
        "DRONE_PURGER_TIME_MINUTES",
        Told,
        "is not needed: what should be there is held against what is, all the time",
    ),
    variable(
        "DRONE_MIN_POOL_SIZE",
        Honoured,
        "is the warm size of `testpool`, where there is no `--pool`",
    ),
    variable(
        "DRONE_MAX_POOL_SIZE",
        Honoured,
        "is the limit of `testpool`, where there is no `--pool`",
    ),
    variable("DRONE_ENABLE_AUTO_POOL", Told, "has no effect"),
    variable(
        "DRONE_ENABLE_LE_DIAGNOSTICS",
        Told,
        "has no effect: `vmpool doctor` and `vmpool explain` say what is wrong with a machine",
    ),
    variable(
        "DRONE_FALLBACK_POOL_IDS",
        Honoured,
        "names the pools that a setup falls back on which names none (`--fallback-pools`)",
    ),
    variable(
        "HEALTH_CHECK_*",
        Told,
        "has no effect: a machine is ready while its connection is open, nothing is asked of it at a setup; how long it may boot is `deadlines.booting` of its pool",
    ),
    variable(
        "SETUP_TIMEOUT",
        Told,
        "has no effect: how long a machine may take to be prepared is `deadlines.prepare` of its pool",
    ),
    variable(
        "START_STEP_TIMEOUT",
        Told,
        "has no effect: who asks for a step whose machine has not answered for 30 s is told so; asked for again, it is begun when the machine answers",
    ),
    variable(
        "DRONE_LITE_ENGINE_ENABLE_MOCK",
        Refused,
        "asks for agents that do nothing: use a pool of `type: local`",
    ),
    variable(
        "DRONE_LITE_ENGINE_MOCK_STEP_TIMEOUT_SECS",
        Told,
        "has no effect without mock agents",
    ),
    variable(
        "DRONE_LITE_ENGINE_*",
        Honoured,
        "is for templates of user data",
    ),
    variable(
        "DRONE_PLUGIN_BINARY_*",
        Honoured,
        "is for templates of user data",
    ),
    variable("DRONE_HARNESS_*", Honoured, "is for templates of user data"),
    variable(
        "DRONE_ANNOTATIONS_CLI_*",
        Honoured,
        "is for templates of user data",
    ),
    variable(
        "DRONE_ENVMAN_BINARY_*",
        Honoured,
        "is for templates of user data",
    ),
    variable("DRONE_TMATE_*", Honoured, "is for templates of user data"),
    variable(
        "DRONE_EGRESS_*",
        Told,
        "has no effect: what steps may reach is not limited, and a setup that asks for it is refused",
    ),
    variable(
        "DRONE_DATABASE_DRIVER",
        Honoured,
        "is `sqlite3` (the default) or `postgres`; `leveldb` and others are refused",
    ),
    variable(
        "DRONE_DATABASE_DATASOURCE",
        Honoured,
        "is the journal's URL with `postgres`; with `sqlite3` the state is in a directory beside that file, with `.vmpool` at its end. The incumbent's own records are not read",
    ),
    variable(
        "DRONE_DELEGATE_DISTRIBUTED_MODE",
        Honoured,
        "has DRONE_DISTRIBUTED_DATASOURCE be the journal, which several runners share: they need `-- --trust DIR --logs DIR --peer-listen ADDR --peer-url URL`, too",
    ),
    variable(
        "DRONE_DISTRIBUTED_DATASOURCE",
        Honoured,
        "is the journal's URL in distributed mode",
    ),
    variable(
        "DRONE_DISTRIBUTED_DB_IAM_AUTH",
        Refused,
        "asks for passwords of AWS IAM, which are not supported: use a password or a certificate",
    ),
    variable(
        "DRONE_DISTRIBUTED_DB_REGION",
        Told,
        "has no effect without passwords of AWS IAM",
    ),
    variable("DRONE_DEBUG", Honoured, "logs more (`VMPOOL_LOG=debug`)"),
    variable(
        "DRONE_TRACE",
        Honoured,
        "logs everything (`VMPOOL_LOG=trace`)",
    ),
    variable(
        "AMAZON_*",
        Honoured,
        "is the key of EC2 pools whose file names none",
    ),
    variable(
        "AWS_ACCESS_KEY_SECRET",
        Honoured,
        "is the secret of AWS_ACCESS_KEY_ID for `testpool`, where there is no `--pool`",
    ),
    variable("DRONE_OTEL_*", Told, "has no effect, as with the incumbent"),
    variable("DLITE_*", NotOurs, "is for the incumbent's `dlite`"),
    variable(
        "DRONE_*",
        NotOurs,
        "is for another command of the incumbent's, or unknown",
    ),
    variable(
        "NOMAD_*",
        NotOurs,
        "is for a provider that is not supported",
    ),
    variable("ANKA_*", NotOurs, "is for a provider that is not supported"),
    variable("TART_*", NotOurs, "is for a provider that is not supported"),
    variable(
        "DIGITAL_OCEAN_PAT",
        NotOurs,
        "is for a provider that is not supported",
    ),
];

/// What an environment means for `vmpool serve`.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    pub(super) state: PathBuf,
    /// It listens where others reach it.
    pub(super) open: bool,
    /// Options, with their values.
    pub(super) options: Vec<(&'static str, String)>,
    /// Variables of ours, which may be secrets.
    pub(super) variables: BTreeMap<&'static str, String>,
    /// What is to be said.
    pub(super) sentences: Vec<String>,
}

impl Meaning {
    /// # Errors
    /// A variable has a value that can't be used, or asks for what can't be done.
    pub(super) fn of(environment: &Environment, state: Option<&Path>) -> anyhow::Result<Self> {
        let mut meaning = Self::default();
        meaning.tell(environment)?;
        check_ages(environment)?;
        check_volumes(environment)?;
        meaning.database(environment, state)?;
        meaning.listen(environment)?;
        let name = if let Some(name) = environment.get("DRONE_RUNNER_NAME") {
            name.to_owned()
        } else {
            let host = fs::read_to_string(HOST).context("read the host's name")?;
            runner_name(host.trim())
        };
        meaning.options.push(("--deployment", name));
        if let Some(pools) = environment.get("DRONE_FALLBACK_POOL_IDS") {
            let pools = pools
                .split(',')
                .map(str::trim)
                .filter(|pool| !pool.is_empty());
            let pools = pools.collect::<Vec<_>>().join(",");
            meaning.options.push(("--fallback-pools", pools));
        }
        if environment.get("VMPOOL_LOG").is_none() {
            let level = [("DRONE_TRACE", "trace"), ("DRONE_DEBUG", "debug")];
            let level = level.iter().find(|(name, _)| is_true(environment, name));
            let level = level.map(|(_, level)| ("VMPOOL_LOG", (*level).to_owned()));
            meaning.variables.extend(level);
        }
        for (theirs, ours) in [
            ("AWS_ACCESS_KEY_ID", "AMAZON_ACCESS_KEY_ID"),
            ("AWS_ACCESS_KEY_SECRET", "AMAZON_ACCESS_KEY_SECRET"),
        ] {
            // Under its odd name only, which no other program knows.
            let odd = environment.get("AWS_ACCESS_KEY_SECRET").is_some();
            if let Some(value) = environment.get(theirs).filter(|_| odd)
                && environment.get(ours).is_none()
            {
                meaning.variables.insert(ours, value.to_owned());
            }
        }
        Ok(meaning)
    }

    fn tell(&mut self, environment: &Environment) -> anyhow::Result<()> {
        if environment.has_dotenv {
            let said = "warning: .env in the working directory is not read: name it with --envfile";
            self.sentences.push(said.to_owned());
        }
        for name in environment.names() {
            let Some(Variable { becomes, how, .. }) = of(name) else {
                continue;
            };
            match becomes {
                Told => self.sentences.push(format!("{name} {how}")),
                NotOurs => self
                    .sentences
                    .push(format!("warning: {name} has no effect: it {how}")),
                Refused if is_true(environment, name) => anyhow::bail!("{name} {how}"),
                Honoured | Refused => {}
            }
        }
        Ok(())
    }

    fn database(&mut self, environment: &Environment, state: Option<&Path>) -> anyhow::Result<()> {
        let source = environment.get("DRONE_DATABASE_DATASOURCE");
        let driver = environment
            .get("DRONE_DATABASE_DRIVER")
            .unwrap_or("sqlite3");
        let shared = is_true(environment, "DRONE_DELEGATE_DISTRIBUTED_MODE");
        let (url, file) = match driver {
            _ if shared => {
                let name = "DRONE_DISTRIBUTED_DATASOURCE";
                let url = environment.get(name);
                (
                    Some(url.with_context(|| format!("{name}: distributed mode needs it"))?),
                    None,
                )
            }
            "postgres" => {
                let name = "DRONE_DATABASE_DATASOURCE";
                (
                    Some(source.with_context(|| format!("{name}: postgres needs it"))?),
                    None,
                )
            }
            "sqlite3" => (None, Some(source.unwrap_or("database.sqlite3"))),
            other => anyhow::bail!(
                "DRONE_DATABASE_DRIVER: {other:?} is not supported: sqlite3 or postgres"
            ),
        };
        if let Some(url) = url {
            self.variables.insert("VMPOOL_JOURNAL", url.to_owned());
        }
        self.state = match (state, file) {
            (Some(state), _) => state.to_owned(),
            (None, Some(file)) => format!("{file}.vmpool").into(),
            (None, None) => "database.vmpool".into(),
        };
        Ok(())
    }

    fn listen(&mut self, environment: &Environment) -> anyhow::Result<()> {
        let Some(bind) = environment.get("DRONE_HTTP_BIND") else {
            return Ok(());
        };
        let whole = match bind.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => bind.replacen("localhost:", "127.0.0.1:", 1),
        };
        let address: SocketAddr = whole
            .parse()
            .with_context(|| format!("DRONE_HTTP_BIND: {bind:?} is no address and port"))?;
        // Who sets it has said so; the risk is told by the runner, once.
        self.open = !address.ip().is_loopback();
        self.options.push(("--listen", address.to_string()));
        Ok(())
    }
}

fn of(name: &str) -> Option<&'static Variable> {
    TABLE
        .iter()
        .find(|variable| match variable.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => variable.name == name,
        })
}

/// As Go reads a flag.
fn is_true(environment: &Environment, name: &str) -> bool {
    let value = environment.get(name).unwrap_or_default();
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// A host's name as the incumbent makes a runner's of it.
fn runner_name(host: &str) -> String {
    let host = host.to_lowercase();
    if host.starts_with(|c: char| c.is_ascii_lowercase()) {
        host
    } else {
        format!("runner-{host}")
    }
}

/// The incumbent's own checks of its purger.
fn check_ages(environment: &Environment) -> anyhow::Result<()> {
    let age = |name: &str, usual: i64| match environment.get(name) {
        None => Ok(usual),
        Some(value) => value
            .parse::<i64>()
            .with_context(|| format!("{name}: it is no number")),
    };
    let busy = age("DRONE_SETTINGS_BUSY_MAX_AGE", 24)?;
    let free = age("DRONE_SETTINGS_FREE_MAX_AGE", 72)?;
    age("DRONE_SETTINGS_FREE_CAPACITY_MAX_AGE", 10)?;
    for (name, hours) in [
        ("DRONE_SETTINGS_BUSY_MAX_AGE", busy),
        ("DRONE_SETTINGS_FREE_MAX_AGE", free),
    ] {
        if hours < 1 {
            anyhow::bail!("{name}: minimum value of max age is 5.00 minutes");
        }
    }
    if busy > free {
        anyhow::bail!(
            "DRONE_SETTINGS_BUSY_MAX_AGE: {busy} h is more than DRONE_SETTINGS_FREE_MAX_AGE, {free} h"
        );
    }
    Ok(())
}

/// `source:destination[:ro]`, separated by commas.
fn check_volumes(environment: &Environment) -> anyhow::Result<()> {
    let volumes = environment.get("DRONE_RUNNER_VOLUMES").unwrap_or_default();
    for volume in volumes.split(',').filter(|volume| !volume.is_empty()) {
        let parts: Vec<_> = volume.split(':').collect();
        let is_one = match parts.as_slice() {
            [from, to] | [from, to, "ro" | "rw"] => !from.is_empty() && !to.is_empty(),
            _ => false,
        };
        if !is_one {
            anyhow::bail!("DRONE_RUNNER_VOLUMES: {volume:?} is not SOURCE:DESTINATION[:ro]");
        }
    }
    Ok(())
}

/// The table in Markdown.
pub(super) fn table() -> String {
    let mut table = "| variable | |\n|---|---|\n".to_owned();
    for Variable { name, becomes, how } in TABLE {
        let refused = if *becomes == Refused {
            " (where it is `true`, the runner does not start)"
        } else {
            ""
        };
        // Writing to a string can't fail.
        let _ = writeln!(table, "| `{name}` | {how}{refused} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../docs/delegate.md");

    fn meant<const N: usize>(variables: [(&str, &str); N]) -> Meaning {
        Meaning::of(&Environment::of(variables), None).unwrap()
    }

    fn refused<const N: usize>(variables: [(&str, &str); N]) -> String {
        let refused = Meaning::of(&Environment::of(variables), None).unwrap_err();
        format!("{refused:#}")
    }

    fn option(meaning: &Meaning, name: &str) -> Option<String> {
        let found = meaning.options.iter().find(|(option, _)| *option == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn the_documentation_has_the_table() {
        assert!(
            DOCS.contains(&table()),
            "docs/delegate.md: put `vmpool delegate --variables` there"
        );
    }

    #[test]
    fn every_variable_is_in_the_table_once() {
        for (n, variable) in TABLE.iter().enumerate() {
            let plain = variable.name.trim_end_matches('*');
            let first = TABLE.iter().position(|other| other.name == variable.name);
            assert_eq!(first, Some(n), "{plain}");
            assert!(
                !variable.how.is_empty() && !variable.how.ends_with('.'),
                "{plain}"
            );
        }
    }

    #[test]
    fn what_has_an_option_becomes_it() {
        let meaning = meant([
            ("DRONE_HTTP_BIND", ":3100"),
            ("DRONE_RUNNER_NAME", "ci"),
            ("DRONE_FALLBACK_POOL_IDS", "a, b"),
            ("DRONE_DEBUG", "true"),
            ("DRONE_DATABASE_DATASOURCE", "/data/db"),
        ]);
        assert_eq!(
            option(&meaning, "--listen").as_deref(),
            Some("0.0.0.0:3100")
        );
        assert_eq!(option(&meaning, "--deployment").as_deref(), Some("ci"));
        assert_eq!(option(&meaning, "--fallback-pools").as_deref(), Some("a,b"));
        assert_eq!(meaning.variables["VMPOOL_LOG"], "debug");
        assert_eq!(meaning.state, Path::new("/data/db.vmpool"));
        assert!(meaning.open);
    }

    #[test]
    fn p11_a_databases_url_is_no_argument() {
        let url = "postgres://me:s3cret@db/x";
        let meaning = meant([
            ("DRONE_DATABASE_DRIVER", "postgres"),
            ("DRONE_DATABASE_DATASOURCE", url),
        ]);
        assert_eq!(meaning.variables["VMPOOL_JOURNAL"], url);
        assert!(
            meaning
                .options
                .iter()
                .all(|(_, value)| !value.contains("s3cret"))
        );
    }

    #[test]
    fn p13_what_can_not_be_is_refused_with_the_variables_name() {
        for (name, value, why) in [
            ("DRONE_DATABASE_DRIVER", "leveldb", "not supported"),
            ("DRONE_HTTP_BIND", "nowhere", "no address"),
            ("DRONE_LITE_ENGINE_ENABLE_MOCK", "true", "type: local"),
            (
                "DRONE_SETTINGS_BUSY_MAX_AGE",
                "0",
                "minimum value of max age is 5.00 minutes",
            ),
            ("DRONE_SETTINGS_BUSY_MAX_AGE", "100", "more than"),
            ("DRONE_SETTINGS_FREE_MAX_AGE", "x", "no number"),
            ("DRONE_RUNNER_VOLUMES", "/a", "SOURCE:DESTINATION"),
            ("DRONE_DISTRIBUTED_DB_IAM_AUTH", "true", "not supported"),
        ] {
            let error = refused([(name, value)]);
            assert!(error.contains(name) && error.contains(why), "{error}");
        }
        let error = refused([("DRONE_DELEGATE_DISTRIBUTED_MODE", "true")]);
        assert!(error.contains("DRONE_DISTRIBUTED_DATASOURCE"), "{error}");
    }

    #[test]
    fn a_variable_of_which_nothing_comes_is_answered_with_one_sentence() {
        let meaning = meant([
            ("SETUP_TIMEOUT", "40s"),
            ("HEALTH_CHECK_HOTPOOL_TIMEOUT", "10s"),
            ("DLITE_NAME", "x"),
            ("PATH", "/bin"),
        ]);
        let said = meaning.sentences.join("\n");
        assert_eq!(meaning.sentences.len(), 3, "{said}");
        assert!(said.contains("warning: DLITE_NAME has no effect"), "{said}");
    }

    #[test]
    fn a_hosts_name_is_made_a_runners() {
        assert_eq!(runner_name("Host-1"), "host-1");
        assert_eq!(runner_name("10-0-0-1"), "runner-10-0-0-1");
    }
}
