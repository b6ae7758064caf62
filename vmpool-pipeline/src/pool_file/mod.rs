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
//!   variants:             # other shapes of machine, each a pool of its own
//!   - {variant_id: large, pool: 1, resource_class: large, machine_type: m7i.4xlarge}
//!   tenants:              # accounts with machines of their own
//!   - {group_id: acme, ids: [account1], pool: 2, spec: {iam_profile_arn: arn:…}}
//! ```
//!
//! The format is a foreign one: a key that is unknown is a warning that names
//! the nearest known one, and what the incumbent reads but has no effect here
//! is one, too. What can't be meant is an error with its place.

mod amazon;
mod family;
mod keys;
mod local;
mod reference;
mod tenants;
mod timing;
mod variants;

use crate::diagnostic::{Diagnostic, Place, Rejected, Report, did_you_mean, nearest, quoted};
use crate::fields::{At, Fields, Reader};
use crate::parse::Dialect;
use crate::yaml::{self, Duplicates};
use keys::{FILE, INSTANCE};
use variants::VariantSpec;

pub use amazon::{
    AmazonAccount, AmazonDisk, AmazonMarket, AmazonNetwork, AmazonPresence, AmazonSpec,
    AmazonUserData, StaticKeys, ZoneSpec,
};
pub use family::{Tenant, Variant, Wanted};
pub use local::LocalSpec;
pub use reference::{pool_file_reference, pool_file_schema};
pub use timing::{PoolDeadlines, Timing};

/// In bytes; the tags of a machine carry it.
const LONGEST_NAME: usize = 200;

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
    /// Its name.
    pub name: String,
    /// The name of its entry, by which requests ask for it.
    pub base: String,
    /// Whose builds it is for; `None`: those of all others.
    pub tenant: Option<Tenant>,
    /// Which shape of machine it has; `None`: the entry's own.
    pub variant: Option<Variant>,
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
    let fields = r.fields(&at, &FILE.keys)?;
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
        for pool in entry(r, &item).unwrap_or_default() {
            if pools.iter().any(|known| known.name == pool.name) {
                // The incumbent's words.
                r.error(&item, format!("pool {:?} already defined", pool.name));
            }
            pools.push(pool);
        }
    }
    Some(pools)
}

/// The pools that an entry stands for: its own first.
fn entry(r: &mut Reader, at: &At<'_>) -> Option<Vec<PoolSpec>> {
    let fields = r.fields(at, &INSTANCE.keys)?;
    let name = fields.require(r, "name", |r, at| r.name(at));
    let kind = fields.require(r, "type", kind);
    fields.read(r, "default", |r, at| r.flag(at));
    fields.read(r, "variant_id", |r, at| r.text(at));
    let warm = fields.read(r, "pool", warm).unwrap_or(0);
    let limit = limit(r, &fields, warm);
    let variants = fields.read(r, "variants", variants::variants);
    let variants = variants.unwrap_or_default();
    let tenants = fields.read(r, "tenants", tenants::tenants);
    let tenants = tenants.unwrap_or_default();
    let kind = kind?;
    let platform = fields.get("platform");
    let spec = fields.get("spec");
    if spec.is_none() && matches!(kind, Kind::Amazon) {
        r.report.error(at.node.place, &at.path, "`spec` is missing");
        return None;
    }
    let machines = Machines::read(r, kind, platform.as_ref(), spec.as_ref())?;
    let name = name?;
    let own = Family {
        base: &name,
        tenant: None,
        machines,
        size: (warm, limit),
    };
    let mut pools = own.pools(r, at, &variants);
    for tenant in tenants {
        let merged = match (&spec, &tenant.spec) {
            (Some(base), Some(over)) => Some(tenants::merged(r, base.node, over)),
            (base, over) => base.as_ref().or(over.as_ref()).map(|at| at.node.clone()),
        };
        let place = tenant.spec.as_ref().or(spec.as_ref());
        let merged = merged.as_ref().zip(place).map(|(node, at)| At {
            node,
            path: at.path.clone(),
        });
        let machines = Machines::read(r, kind, platform.as_ref(), merged.as_ref())?;
        let warm = tenant.warm.unwrap_or(warm);
        let theirs = Family {
            base: &name,
            tenant: Some(tenant.is_for),
            machines,
            size: (warm, tenant.limit.unwrap_or(limit).max(warm)),
        };
        let mut shapes = variants.clone();
        for variant in tenant.variants {
            let id = &variant.is_for.id;
            match shapes.iter_mut().find(|known| known.is_for.id == *id) {
                Some(known) => *known = variant,
                None => shapes.push(variant),
            }
        }
        pools.extend(theirs.pools(r, at, &shapes));
    }
    Some(pools)
}

/// What a pool's machines are, where they come from, and its times.
struct Machines {
    platform: PoolPlatform,
    timing: Timing,
    source: Source,
}

impl Machines {
    fn read(
        r: &mut Reader,
        kind: Kind,
        platform: Option<&At<'_>>,
        spec: Option<&At<'_>>,
    ) -> Option<Self> {
        let (platform, timing, source) = match kind {
            Kind::Local => {
                let platform = platform.and_then(|at| local::platform(r, at));
                let spec = spec.and_then(|at| local::spec(r, at));
                let (timing, spec) = spec.unwrap_or_default();
                let platform = platform.unwrap_or_else(PoolPlatform::here);
                (platform, timing, Source::Local(spec))
            }
            Kind::Amazon => {
                let platform = platform.and_then(|at| amazon::platform(r, at));
                let platform = platform.unwrap_or_else(amazon::usual_platform);
                let (timing, spec) = amazon::spec(r, spec?, &platform)?;
                (platform, timing, Source::Amazon(Box::new(spec)))
            }
        };
        Some(Self {
            platform,
            timing,
            source,
        })
    }
}

/// A pool and its variants, of the entry itself or of a tenant.
struct Family<'a> {
    base: &'a str,
    tenant: Option<Tenant>,
    machines: Machines,
    /// Machines kept ready, and at most.
    size: (u32, u32),
}

impl Family<'_> {
    fn pools(&self, r: &mut Reader, at: &At<'_>, variants: &[VariantSpec<'_>]) -> Vec<PoolSpec> {
        let mut pools = vec![self.pool(None, self.size, self.machines.source.clone())];
        for variant in variants {
            let source = variant.shape(r, &self.machines.source);
            let size = (variant.warm, variant.limit);
            pools.push(self.pool(Some(variant.is_for.clone()), size, source));
        }
        for pool in &pools {
            if pool.name.len() > LONGEST_NAME {
                let name = quoted(&pool.name);
                let message = format!("the name {name} has more than {LONGEST_NAME} bytes");
                r.error(at, message);
            }
        }
        pools
    }

    fn pool(
        &self,
        variant: Option<Variant>,
        (warm, limit): (u32, u32),
        source: Source,
    ) -> PoolSpec {
        let mut name = self.base.to_owned();
        for (mark, id) in [
            ('@', self.tenant.as_ref().map(|tenant| &tenant.id)),
            ('/', variant.as_ref().map(|variant| &variant.id)),
        ] {
            if let Some(id) = id {
                name.push(mark);
                name.push_str(id);
            }
        }
        PoolSpec {
            name,
            base: self.base.to_owned(),
            tenant: self.tenant.clone(),
            variant,
            warm,
            limit,
            platform: self.machines.platform.clone(),
            timing: self.machines.timing.clone(),
            source,
        }
    }
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

#[derive(Clone, Copy)]
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
