//! `POST /setup`: a machine for a stage.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpool_core::runner::SetupRequest;
use vmpool_core::{Lease, PoolName, Secret, StageFile, StageId, StageSetup};
use vmpool_pipeline::{PoolPlatform, PoolSpec, Source, Wanted};

use super::Answer;
use super::decode::decode;

/// Permissions of a file for which the request names none.
const USUAL_MODE: u32 = 0o644;

/// What is read of the body.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct SetupVm {
    id: String,
    pool_id: String,
    resource_class: String,
    nested_virtualization: bool,
    context: Context,
    tags: BTreeMap<String, String>,
    setup_request: Setup,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    account_id: String,
    is_free_account: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Setup {
    envs: BTreeMap<String, String>,
    files: Vec<File>,
    secrets: Vec<String>,
    vm_image_config: Image,
    /// Of the stage, in seconds; 0: none is named.
    timeout: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image {
    image_name: String,
}

#[derive(Deserialize, Default)]
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
    pub(crate) fn read(body: &[u8]) -> Result<(SetupRequest, Wanted), Answer> {
        let mut request: Self = decode(body)?;
        for (field, value) in [("id", &request.id), ("pool_id", &request.pool_id)] {
            if value.is_empty() {
                let error = format!("mandatory field '{field}' in the request body is empty");
                return Err(Answer::bad_request(&error));
            }
        }
        let stage = StageId::parse(&request.id);
        let stage = stage.map_err(|error| Answer::bad_request(&format!("id: {error}")))?;
        let pool = PoolName::parse(&request.pool_id);
        let pool = pool.map_err(|error| Answer::bad_request(&format!("pool_id: {error}")))?;
        let lasts = request.setup_request.timeout;
        let is_tagged_free = request
            .tags
            .get("freeCI")
            .is_some_and(|free| free == "true");
        let account = if request.context.account_id.is_empty() {
            request.tags.remove("accountID").unwrap_or_default()
        } else {
            request.context.account_id
        };
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
            lasts: (lasts > 0).then(|| Duration::from_secs(lasts)),
            ..SetupRequest::new(pool, stage, setup)
        };
        Ok((request, wanted))
    }
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
            if file.is_dir {
                let error = format!("{}: directories are not supported", field("is_dir"));
                return Err(Answer::bad_request(&error));
            }
            files.push(StageFile {
                path: file.path.into(),
                mode: if file.mode == 0 {
                    USUAL_MODE
                } else {
                    file.mode
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
#[derive(Serialize)]
struct SetUp<'a> {
    ip_address: &'a str,
    instance_id: &'a str,
    gitspaces_port_mappings: Option<()>,
    instance_info: InstanceInfo<'a>,
}

/// The incumbent gives the machine's keys away here. Ours have no key that
/// another could use, so these fields are always empty.
#[derive(Serialize)]
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
    ca_key: &'a str,
    ca_cert: &'a str,
    tls_key: &'a str,
    tls_cert: &'a str,
}

/// The stage has this machine of the pool; `None`: the file has it no more.
pub(crate) fn set_up(lease: &Lease, pool: Option<&PoolSpec>) -> Answer {
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
            zone: "",
            storage_identifier: "",
            ca_key: "",
            ca_cert: "",
            tls_key: "",
            tls_cert: "",
        },
    })
}
