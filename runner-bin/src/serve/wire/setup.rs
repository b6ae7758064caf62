//! `POST /setup`: a machine for a stage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vmpool_agent::ThrowAway;
use vmpool_core::runner::SetupRequest;
use vmpool_core::{Lease, PoolName, Secret, StageFile, StageId, StageSetup};
use vmpool_pipeline::{PoolPlatform, PoolSpec, Source, Wanted};

use super::Answer;
use super::decode::decode;
use super::logs::{LogConfig, LogTarget};

/// Permissions of a file for which the request names none.
const USUAL_MODE: u32 = 0o644;

/// Those of a directory.
const USUAL_DIR_MODE: u32 = 0o777;

/// Pools that one request may fall back on.
pub(crate) const MOST_FALLBACKS: usize = 16;

/// Names of tags that a request can't give its machine: they tell whose it is.
const RESERVED: [&str; 2] = ["vmpool:", "aws:"];

/// A stage whose machine must not be cleaned up lasts as long as a machine does.
const RETAINED: Duration = Duration::from_hours(10 * 365 * 24);

/// A setup as it is meant.
#[derive(Debug, Clone)]
pub(crate) struct MeantSetup {
    pub(crate) request: SetupRequest,
    /// What tells which of the pools of this name is meant.
    pub(crate) wanted: Wanted,
    /// Pools to be tried next, one after the other. `None`: the deployment's own.
    pub(crate) fallbacks: Option<Vec<PoolName>>,
    /// The pool is not the first that was asked for the stage.
    pub(crate) is_fallback: bool,
    /// Where the stage's logs are wanted.
    pub(crate) logs: Option<LogTarget>,
}

/// What is read of the body.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
pub(crate) struct SetupVm {
    id: String,
    pool_id: String,
    fallback_pool_ids: Option<Vec<String>>,
    resource_class: String,
    nested_virtualization: bool,
    context: Context,
    tags: BTreeMap<String, String>,
    storage_config: Storage,
    log_key: String,
    skip_cloud_vm_cleanup: bool,
    /// Where a machine is launched for the stage, should one be launched.
    zone: String,
    instance_info: Option<InstanceId>,
    setup_request: Setup,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Context {
    account_id: String,
    is_free_account: bool,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Storage {
    boot_disk_size: String,
}

/// A machine that a stage had before, to be woken for it.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct InstanceId {
    id: String,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Egress {
    proxy_url: String,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Setup {
    envs: BTreeMap<String, String>,
    files: Vec<File>,
    secrets: Vec<String>,
    vm_image_config: Image,
    log_config: LogConfig,
    egress_policy: Egress,
    /// Of the stage, in seconds; 0: none is named.
    timeout: u64,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Image {
    image_name: String,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct File {
    path: String,
    mode: u32,
    data: String,
    is_dir: bool,
}

// Environment, files and secrets are nobody's business.
impl fmt::Debug for SetupVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupVm")
            .field("id", &self.id)
            .field("pool_id", &self.pool_id)
            .finish_non_exhaustive()
    }
}

impl SetupVm {
    /// What the body asks for, and what it says of the machine that it wants.
    ///
    /// # Errors
    /// The body is no such request, or asks for what can't be done.
    pub(crate) fn read(body: &[u8]) -> Result<MeantSetup, Answer> {
        let mut request: Self = decode(body)?;
        for (field, value) in [("id", &request.id), ("pool_id", &request.pool_id)] {
            if value.is_empty() {
                let error = format!("mandatory field '{field}' in the request body is empty");
                return Err(Answer::bad_request(&error));
            }
        }
        let stage = StageId::parse(&request.id);
        let stage = stage.map_err(|error| Answer::bad_request(&format!("id: {error}")))?;
        let pool = pool_name("pool_id", &request.pool_id)?;
        let fallbacks = request.fallbacks()?;
        request.check()?;
        let lasts = match request.setup_request.timeout {
            0 if request.skip_cloud_vm_cleanup => Some(RETAINED),
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        };
        let is_tagged_free = request
            .tags
            .get("freeCI")
            .is_some_and(|free| free == "true");
        let account = if request.context.account_id.is_empty() {
            request.tags.get("accountID").cloned().unwrap_or_default()
        } else {
            std::mem::take(&mut request.context.account_id)
        };
        let config = std::mem::take(&mut request.setup_request.log_config);
        let logs = LogTarget::of(config, std::mem::take(&mut request.log_key));
        let wanted = Wanted {
            pool: request.pool_id,
            account,
            free: request.context.is_free_account || is_tagged_free,
            resource_class: request.resource_class,
            nested_virtualization: request.nested_virtualization,
            image: std::mem::take(&mut request.setup_request.vm_image_config.image_name),
        };
        let setup = request.setup_request.stage_setup()?;
        let request = SetupRequest {
            lasts,
            tags: request.tags,
            zone: Some(request.zone)
                .filter(|zone| !zone.is_empty())
                .map(Arc::from),
            ..SetupRequest::new(pool, stage, setup)
        };
        Ok(MeantSetup {
            request,
            wanted,
            fallbacks,
            is_fallback: false,
            logs,
        })
    }

    /// As the incumbent: an empty list is none.
    fn fallbacks(&self) -> Result<Option<Vec<PoolName>>, Answer> {
        let Some(ids) = self
            .fallback_pool_ids
            .as_ref()
            .filter(|ids| !ids.is_empty())
        else {
            return Ok(None);
        };
        if ids.len() > MOST_FALLBACKS {
            let error = format!("fallback_pool_ids: there are more than {MOST_FALLBACKS}");
            return Err(Answer::bad_request(&error));
        }
        let names = ids.iter().enumerate();
        let names = names.map(|(n, id)| pool_name(&format!("fallback_pool_ids[{n}]"), id));
        names.collect::<Result<_, _>>().map(Some)
    }

    /// What the machine can't be, or must not carry (P13).
    fn check(&self) -> Result<(), Answer> {
        let refused =
            |field: &str, reason: &str| Err(Answer::bad_request(&format!("{field}: {reason}")));
        let size = &self.storage_config.boot_disk_size;
        if !size.is_empty() && size.parse::<u64>().is_err() {
            let error = format!(
                "could not provision a VM from the pool: failed to parse volume size: \
                 storage_config.boot_disk_size is {size:?}"
            );
            return Err(Answer::failed(&error));
        }
        if let Some(name) = self.tags.keys().find(|name| {
            let reserved = |prefix: &&str| name.starts_with(*prefix);
            name.is_empty() || RESERVED.iter().any(reserved)
        }) {
            let field = format!("tags[{name:?}]");
            return refused(&field, "a machine's tag can't have this name");
        }
        if !self.setup_request.egress_policy.proxy_url.is_empty() {
            let field = "setup_request.egress_policy.proxy_url";
            return refused(field, "control of what steps may reach is not supported");
        }
        let resumes = self
            .instance_info
            .as_ref()
            .is_some_and(|info| !info.id.is_empty());
        if resumes {
            let reason = "a suspended machine can't be woken: machines serve one stage and are \
                          not suspended";
            return refused("instance_info", reason);
        }
        Ok(())
    }
}

fn pool_name(field: &str, text: &str) -> Result<PoolName, Answer> {
    let name = PoolName::parse(text);
    name.map_err(|error| Answer::bad_request(&format!("{field}: {error}")))
}

impl Setup {
    fn stage_setup(self) -> Result<StageSetup, Answer> {
        let mut files = Vec::with_capacity(self.files.len());
        for (n, file) in self.files.into_iter().enumerate() {
            let field = |name: &str| format!("setup_request.files[{n}].{name}");
            if file.path.is_empty() {
                let error = format!("{}: the path is empty", field("path"));
                return Err(Answer::bad_request(&error));
            }
            // A slash at its end is what makes it a directory.
            let (path, usual) = match (file.is_dir, file.path.trim_end_matches('/')) {
                (_, "") => {
                    let error = format!("{}: it is no path of a file", field("path"));
                    return Err(Answer::bad_request(&error));
                }
                (true, path) => (format!("{path}/"), USUAL_DIR_MODE),
                (false, _) => (file.path, USUAL_MODE),
            };
            files.push(StageFile {
                path: path.into(),
                mode: if file.mode == 0 {
                    usual
                } else {
                    file.mode & 0o777
                },
                content: Secret::new(file.data),
            });
        }
        let secrets = self.secrets.into_iter().filter(|value| !value.is_empty());
        Ok(StageSetup {
            workdir: None,
            env: self.envs,
            files,
            secrets: secrets.map(Secret::new).collect(),
        })
    }
}

/// The answer to a setup.
#[derive(Serialize, ToSchema)]
pub(crate) struct SetUp<'a> {
    ip_address: &'a str,
    instance_id: &'a str,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    gitspaces_port_mappings: Option<()>,
    instance_info: InstanceInfo<'a>,
}

/// The incumbent gives the machine's keys away here. Ours have no key that
/// another could use, so these fields are empty, except where somebody asks
/// for those of machines with the incumbent's agent.
#[derive(Serialize, ToSchema)]
struct InstanceInfo<'a> {
    id: &'a str,
    name: &'a str,
    ip_address: &'a str,
    port: u16,
    os: &'a str,
    arch: &'a str,
    provider: &'a str,
    pool_name: &'a str,
    zone: &'a str,
    storage_identifier: &'a str,
    #[serde(flatten)]
    keys: CompatKeys,
}

/// The throw-away keys of one machine with the incumbent's agent, each a PEM in
/// base64; never anything of the deployment's.
#[derive(Serialize, Default, ToSchema)]
pub(crate) struct CompatKeys {
    ca_key: String,
    ca_cert: String,
    tls_key: String,
    tls_cert: String,
}

impl CompatKeys {
    /// What the machine was born with.
    pub(crate) fn of(born_with: &ThrowAway) -> Self {
        let encoded = |pem: &str| STANDARD.encode(pem);
        Self {
            ca_key: encoded(born_with.ca_key_pem.expose()),
            ca_cert: encoded(&born_with.ca_pem),
            tls_key: encoded(born_with.agent_key_pem.expose()),
            tls_cert: encoded(&born_with.agent_cert_pem),
        }
    }
}

// A key is nobody's business.
impl fmt::Debug for CompatKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompatKeys").finish_non_exhaustive()
    }
}

/// The stage has this machine of the pool; `None`: the file has it no more.
pub(crate) fn set_up(
    lease: &Lease,
    pool: Option<&PoolSpec>,
    zone: &str,
    keys: CompatKeys,
) -> Answer {
    let machine = lease.machine();
    let here = PoolPlatform::here();
    let platform = pool.map_or(&here, |pool| &pool.platform);
    let provider = match pool.map(|pool| &pool.source) {
        Some(Source::Amazon(_)) => "amazon",
        Some(Source::Local(_)) | None => "local",
    };
    let id = machine.id.as_str();
    let address = machine.address.map(|address| address.ip().to_string());
    let address = address.unwrap_or_default();
    Answer::json(&SetUp {
        ip_address: &address,
        instance_id: id,
        gitspaces_port_mappings: None,
        instance_info: InstanceInfo {
            id,
            name: id,
            ip_address: &address,
            port: machine.address.map_or(0, |address| address.port()),
            os: &platform.os,
            arch: &platform.arch,
            provider,
            // The name that the caller knows.
            pool_name: pool.map_or(machine.pool.as_str(), |pool| &pool.base),
            zone,
            storage_identifier: "",
            keys,
        },
    })
}
