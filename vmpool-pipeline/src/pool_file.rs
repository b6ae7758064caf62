//! Pool files: which pools a runner keeps, in the incumbent's YAML.
//!
//! ```yaml
//! version: "1"
//! instances:
//! - name: linux
//!   type: local           # machines are processes of the runner's host
//!   pool: 2               # kept ready
//!   limit: 10             # at most, in any state
//!   platform: {os: linux, arch: amd64}
//!   spec:
//!     root: /var/lib/vmpool/machines
//!     clocks: {boot: 30m, idle: 10m, stage_grace: 60m}
//!     deadlines: {acquire: 10m, stage: 12h}
//!     max_age: 72h
//!     agent: [/usr/bin/lite-engine, server]   # speaks the incumbent's protocol
//! ```
//!
//! The format is a foreign one: a key that is unknown is a warning that names
//! the nearest known one, and what the incumbent reads but has no effect here
//! is one, too. What can't be meant is an error with its place.

use std::path::PathBuf;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Place, Rejected, Report, did_you_mean, nearest, quoted};
use crate::fields::{At, Fields, Reader};
use crate::keys::Keys;
use crate::parse::Dialect;
use crate::yaml::{self, Duplicates};

/// Machines of a pool whose file names no limit, as with the incumbent.
const USUAL_LIMIT: u32 = 100;

/// Where machines come from, as `type` says it.
const TYPES: [&str; 1] = ["local"];

/// The types that the incumbent has besides.
const OTHER_TYPES: [&str; 11] = [
    "amazon",
    "aws",
    "google",
    "gcp",
    "azure",
    "digitalocean",
    "nomad",
    "anka",
    "ankabuild",
    "vmfusion",
    "noop",
];

const FILE: Keys = Keys {
    known: &["version", "instances"],
    own: &[],
    ignored: &[],
};
const INSTANCE: Keys = Keys {
    known: &[
        "name", "default", "type", "pool", "limit", "platform", "spec",
    ],
    own: &[],
    ignored: &["variant_id", "variants", "tenants"],
};
const PLATFORM: Keys = Keys {
    known: &["os", "arch", "variant", "version", "os_name"],
    own: &[],
    ignored: &[],
};
const LOCAL: Keys = Keys {
    known: &["root", "clocks", "deadlines", "max_age", "agent"],
    own: &[],
    ignored: &[],
};
const CLOCKS: Keys = Keys {
    known: &["boot", "idle", "stage_grace"],
    own: &[],
    ignored: &[],
};
const DEADLINES: Keys = Keys {
    known: &[
        "launching",
        "booting",
        "prepare",
        "draining",
        "terminating",
        "acquire",
        "stage",
    ],
    own: &[],
    ignored: &[],
};

/// What a pool file says, and what was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFile {
    /// The pools, in the file's order; at least one, each name once.
    pub pools: Vec<PoolSpec>,
    /// What has no effect, and what may not mean what it seems to.
    pub warnings: Vec<Diagnostic>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its name, by which requests ask for it.
    pub name: String,
    /// Machines kept ready.
    pub warm: u32,
    /// Machines at most; not fewer than `warm`.
    pub limit: u32,
    /// What its machines are.
    pub platform: PoolPlatform,
    /// Where they come from.
    pub local: LocalSpec,
}

/// What a pool's machines are, in the incumbent's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlatform {
    /// `linux`, `darwin` or `windows`.
    pub os: String,
    /// `amd64` or `arm64`.
    pub arch: String,
}

impl PoolPlatform {
    /// This host.
    pub fn here() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            os => os,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            arch => arch,
        };
        Self {
            os: os.into(),
            arch: arch.into(),
        }
    }
}

/// The `spec` of `type: local`. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalSpec {
    /// The directory of the machines.
    pub root: Option<PathBuf>,
    /// A machine that nobody enrols ends itself after this.
    pub boot_clock: Option<Duration>,
    /// One without a stage that nobody renews ends itself after this.
    pub idle_clock: Option<Duration>,
    /// One whose stage is over ends itself this long after.
    pub stage_grace: Option<Duration>,
    /// How long anything may take.
    pub deadlines: PoolDeadlines,
    /// A machine is replaced before this age.
    pub max_age: Option<Duration>,
    /// The command of an agent that speaks the incumbent's protocol, which
    /// `--env-file` and a file follow. Empty: the machines have vmpool's own.
    pub agent: Vec<String>,
}

/// How long anything of a pool may take. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolDeadlines {
    /// From a launch's first call until it is settled by listings.
    pub launching: Option<Duration>,
    /// From a launch until the agent is connected.
    pub booting: Option<Duration>,
    /// From a claim until the stage is prepared.
    pub prepare: Option<Duration>,
    /// From a release until the machine is terminated, ready or not.
    pub draining: Option<Duration>,
    /// From the first terminate call until the alarm.
    pub terminating: Option<Duration>,
    /// A request waits for a machine at most this long.
    pub acquire: Option<Duration>,
    /// A stage lasts at most this long where its request names nothing.
    pub stage: Option<Duration>,
}

/// Reads the text of a pool file. `name` is what diagnostics call the file.
///
/// # Errors
/// [`Rejected`] holds every mistake with its place.
pub fn parse_pool_file(name: &str, text: &str) -> Result<PoolFile, Rejected> {
    let mut reader = Reader {
        report: Report::new(name),
        dialect: Dialect::Drone,
    };
    let pools = file(&mut reader, text).unwrap_or_default();
    let Report {
        mut errors,
        mut warnings,
        ..
    } = reader.report;
    errors.sort_by_key(|error| error.place);
    warnings.sort_by_key(|warning| warning.place);
    if errors.is_empty() {
        Ok(PoolFile { pools, warnings })
    } else {
        Err(Rejected { errors, warnings })
    }
}

fn file(r: &mut Reader, text: &str) -> Option<Vec<PoolSpec>> {
    if text.len() > yaml::MAX_BYTES {
        r.report
            .error(Place::UNKNOWN, "", "the file is larger than 1 MiB");
        return None;
    }
    let documents = match yaml::documents(text, Duplicates::Refuse) {
        Ok(documents) => documents,
        Err(refused) => {
            r.report.error(refused.place, "", refused.message);
            return None;
        }
    };
    let [root] = documents.as_slice() else {
        let count = documents.len();
        let message = format!("expected one document with `instances`, found {count}");
        r.report.error(Place::UNKNOWN, "", message);
        return None;
    };
    let at = At {
        node: root,
        path: String::new(),
    };
    let fields = r.fields(&at, &FILE)?;
    if let Some(version) = fields.get("version")
        && let Some(text) = r.text(&version)
        && text != "1"
    {
        r.warn(
            &version,
            format!("expected version 1, found {}", quoted(&text)),
        );
    }
    let instances = fields.require(r, "instances", |r, at| {
        let items = r.items(at, "a list of pools")?;
        if items.is_empty() {
            r.error(at, "at least one pool is needed");
        }
        Some(items)
    })?;
    let mut pools: Vec<PoolSpec> = Vec::new();
    for item in instances {
        let Some(pool) = pool(r, &item) else { continue };
        if pools.iter().any(|known| known.name == pool.name) {
            let message = format!("the pool {} is there twice", quoted(&pool.name));
            r.error(&item, message);
        }
        pools.push(pool);
    }
    Some(pools)
}

fn pool(r: &mut Reader, at: &At<'_>) -> Option<PoolSpec> {
    let fields = r.fields(at, &INSTANCE)?;
    let name = fields.require(r, "name", |r, at| r.name(at));
    let kind = fields.require(r, "type", kind);
    fields.read(r, "default", |r, at| r.flag(at));
    let warm = fields.read(r, "pool", |r, at| r.number(at)).unwrap_or(0);
    let limit = limit(r, &fields, warm);
    let platform = fields.read(r, "platform", platform);
    let platform = platform.unwrap_or_else(PoolPlatform::here);
    let local = fields.read(r, "spec", local).unwrap_or_default();
    kind?;
    Some(PoolSpec {
        name: name?,
        warm,
        limit,
        platform,
        local,
    })
}

fn kind(r: &mut Reader, at: &At<'_>) -> Option<()> {
    let kind = r.text(at)?;
    if TYPES.contains(&kind.as_str()) {
        return Some(());
    }
    let supported = TYPES.join(", ");
    let message = if OTHER_TYPES.contains(&kind.as_str()) {
        format!(
            "machines of type {} are not supported; supported: {supported}",
            quoted(&kind)
        )
    } else {
        let meant = did_you_mean(nearest(&kind, TYPES));
        format!(
            "unknown type {}{meant}; supported: {supported}",
            quoted(&kind)
        )
    };
    r.error(at, message);
    None
}

fn limit(r: &mut Reader, fields: &Fields<'_>, warm: u32) -> u32 {
    let Some(at) = fields.get("limit") else {
        return USUAL_LIMIT.max(warm);
    };
    match r.number(&at) {
        None | Some(0) => USUAL_LIMIT.max(warm),
        Some(limit) if limit < warm => {
            let message =
                format!("the limit {limit} is below the {warm} kept ready, so it is {warm}");
            r.warn(&at, message);
            warm
        }
        Some(limit) => limit,
    }
}

/// Local machines are this host's, whatever the file says.
fn platform(r: &mut Reader, at: &At<'_>) -> Option<PoolPlatform> {
    let fields = r.fields(at, &PLATFORM)?;
    let here = PoolPlatform::here();
    for (key, here) in [("os", &here.os), ("arch", &here.arch)] {
        if let Some(at) = fields.get(key)
            && let Some(found) = r.text(&at)
            && found != *here
        {
            let found = quoted(&found);
            r.error(&at, format!("local machines are {here} here, not {found}"));
        }
    }
    for key in ["variant", "version", "os_name"] {
        fields.read(r, key, |r, at| r.text(at));
    }
    Some(here)
}

fn local(r: &mut Reader, at: &At<'_>) -> Option<LocalSpec> {
    let fields = r.fields(at, &LOCAL)?;
    let mut spec = LocalSpec {
        root: fields.read(r, "root", directory),
        max_age: fields.read(r, "max_age", |r, at| r.duration(at)),
        agent: fields.read(r, "agent", agent).unwrap_or_default(),
        ..LocalSpec::default()
    };
    fields.read(r, "clocks", |r, at| {
        let fields = r.fields(at, &CLOCKS)?;
        spec.boot_clock = fields.read(r, "boot", |r, at| r.duration(at));
        spec.idle_clock = fields.read(r, "idle", |r, at| r.duration(at));
        spec.stage_grace = fields.read(r, "stage_grace", |r, at| r.duration(at));
        Some(())
    });
    if let Some(deadlines) = fields.read(r, "deadlines", deadlines) {
        spec.deadlines = deadlines;
    }
    Some(spec)
}

fn agent(r: &mut Reader, at: &At<'_>) -> Option<Vec<String>> {
    let items = r.items(at, "a list of a program and its arguments")?;
    let words: Vec<_> = items.iter().filter_map(|item| r.text(item)).collect();
    if !words
        .first()
        .is_some_and(|program| program.starts_with('/'))
    {
        r.error(
            at,
            "expected the absolute path of a program, and its arguments",
        );
        return None;
    }
    r.warn(
        at,
        "an agent of the incumbent's protocol does less: after its restart its steps are lost \
         with their logs (P4), it may leave processes of a step (P10), shows secrets in logs \
         unless it is lite-engine (P11), obeys whoever has its own key (P12), and outlives its \
         runners",
    );
    Some(words)
}

fn directory(r: &mut Reader, at: &At<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(r.text(at)?);
    if path.is_absolute() {
        return Some(path);
    }
    r.error(at, "expected an absolute path of a directory");
    None
}

fn deadlines(r: &mut Reader, at: &At<'_>) -> Option<PoolDeadlines> {
    let fields = r.fields(at, &DEADLINES)?;
    let mut read = |key| fields.read(r, key, |r, at| r.duration(at));
    Some(PoolDeadlines {
        launching: read("launching"),
        booting: read("booting"),
        prepare: read("prepare"),
        draining: read("draining"),
        terminating: read("terminating"),
        acquire: read("acquire"),
        stage: read("stage"),
    })
}

#[cfg(test)]
mod tests;
