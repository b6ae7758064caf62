//! `POST /suspend`: a machine that is to sleep and keep what is on it.
//!
//! The incumbent has this for machines of people who develop there, which live
//! for weeks. Machines of pools serve one stage and end with it (P2), so after
//! its checks the request is refused, with the reason.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use super::decode::decode;

/// What is read of the body.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
pub(crate) struct SuspendVm {
    stage_runtime_id: String,
    instance_info: Info,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Info {
    id: String,
    name: String,
    ip_address: String,
    port: i64,
    os: String,
    arch: String,
    provider: String,
    pool_name: String,
    zone: String,
    storage_identifier: String,
    ca_key: String,
    ca_cert: String,
    tls_key: String,
    tls_cert: String,
}

impl SuspendVm {
    /// The answer, which is a refusal in any case.
    pub(crate) fn read(body: &[u8]) -> Answer {
        let request: Self = match decode(body) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        if request.stage_runtime_id.is_empty() {
            return Answer::bad_request(
                "mandatory field 'stage_runtime_id' in the request body is empty",
            );
        }
        if let Some(field) = request.instance_info.missing() {
            return Answer::bad_request(&format!(
                "invalid instance info: field \"{field}\" is not populated"
            ));
        }
        Answer::bad_request(
            "suspend: machines of this runner's pools serve one stage and end with it; none can \
             be suspended",
        )
    }
}

impl Info {
    fn missing(&self) -> Option<&'static str> {
        let texts = [
            ("ID", &self.id),
            ("Name", &self.name),
            ("IPAddress", &self.ip_address),
            ("OS", &self.os),
            ("Arch", &self.arch),
            ("Provider", &self.provider),
            ("PoolName", &self.pool_name),
            ("Zone", &self.zone),
            ("StorageIdentifier", &self.storage_identifier),
            ("CAKey", &self.ca_key),
            ("CACert", &self.ca_cert),
            ("TLSKey", &self.tls_key),
            ("TLSCert", &self.tls_cert),
        ];
        let empty = texts.iter().find(|(_, value)| value.is_empty());
        let port = (self.port == 0).then_some("Port");
        empty.map(|(name, _)| *name).or(port)
    }
}
