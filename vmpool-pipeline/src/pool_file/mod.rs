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
//! - name: cloud
//!   type: amazon          # machines are EC2 instances
//!   pool: 5
//!   platform: {os: linux, arch: amd64, os_name: ubuntu}
//!   spec:
//!     account: {region: eu-west-1}
//!     ami: resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
//!     size: m7i.large
//! ```
//!
//! The format is a foreign one: a key that is unknown is a warning that names
//! the nearest known one, and what the incumbent reads but has no effect here
//! is one, too. What can't be meant is an error with its place.

mod amazon;
mod local;
mod timing;

use crate::diagnostic::{Diagnostic, Place, Rejected, Report, did_you_mean, nearest, quoted};
use crate::fields::{At, Fields, Reader};
use crate::keys::Keys;
use crate::parse::Dialect;
use crate::yaml::{self, Duplicates};

pub use amazon::{
    AmazonAccount, AmazonDisk, AmazonMarket, AmazonNetwork, AmazonPresence, AmazonSpec,
    AmazonUserData, StaticKeys, ZoneSpec,
};
pub use local::LocalSpec;
pub use timing::{PoolDeadlines, Timing};

/// Machines of a pool whose file names no limit, as with the incumbent.
const USUAL_LIMIT: u32 = 100;

/// Where machines come from, as `type` says it.
const TYPES: [&str; 3] = ["local", "amazon", "aws"];

/// The types that the incumbent has besides.
const OTHER_TYPES: [&str; 9] = [
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
    /// How long anything of it may take.
    pub timing: Timing,
    /// Where its machines come from.
    pub source: Source,
}

/// Where a pool's machines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Processes of the runner's host.
    Local(LocalSpec),
    /// EC2 instances.
    Amazon(Box<AmazonSpec>),
}

/// What a pool's machines are, in the incumbent's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlatform {
    /// `linux`, `darwin` or `windows`.
    pub os: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// `ubuntu`, `amazon-linux` or `debian`; empty where it does not matter.
    pub os_name: String,
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
            os_name: String::new(),
        }
    }
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
    let pools = file(&mut reader, text);
    let (pools, warnings) = reader.report.end(pools)?;
    Ok(PoolFile { pools, warnings })
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
            // The incumbent's words.
            r.error(&item, format!("pool {:?} already defined", pool.name));
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
    let warm = fields.read(r, "pool", warm).unwrap_or(0);
    let limit = limit(r, &fields, warm);
    let (platform, timing, source) = match kind? {
        Kind::Local => {
            let platform = fields.read(r, "platform", local::platform);
            let (timing, spec) = fields.read(r, "spec", local::spec).unwrap_or_default();
            let platform = platform.unwrap_or_else(PoolPlatform::here);
            (platform, timing, Source::Local(spec))
        }
        Kind::Amazon => {
            let platform = fields.read(r, "platform", amazon::platform);
            let platform = platform.unwrap_or_else(amazon::usual_platform);
            let spec = fields.require(r, "spec", |r, at| amazon::spec(r, at, &platform));
            let (timing, spec) = spec?;
            (platform, timing, Source::Amazon(Box::new(spec)))
        }
    };
    Some(PoolSpec {
        name: name?,
        warm,
        limit,
        platform,
        timing,
        source,
    })
}

/// The incumbent takes fewer than none for none.
fn warm(r: &mut Reader, at: &At<'_>) -> Option<u32> {
    if let Some(text) = r.text(at)
        && text.parse::<i64>().is_ok_and(|warm| warm < 0)
    {
        r.warn(at, format!("{} is none", quoted(&text)));
        return Some(0);
    }
    r.number(at)
}

enum Kind {
    Local,
    Amazon,
}

fn kind(r: &mut Reader, at: &At<'_>) -> Option<Kind> {
    let kind = r.text(at)?;
    match kind.as_str() {
        "local" => return Some(Kind::Local),
        "amazon" | "aws" => return Some(Kind::Amazon),
        _ => {}
    }
    let supported = "local, amazon";
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

#[cfg(test)]
mod tests;
