//! What a machine of this host is ordered with: the rendered request of an
//! order, as it is sealed in the journal and handed to the machine.
//!
//! It holds the enrolment secret. A later version must still read these bytes,
//! so fields are only ever added, with defaults.

use serde::{Deserialize, Serialize};
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{Attempt, OrderId, SecretBytes, Tags};

use super::program::Program;

/// What every machine of an order gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// What the machine is known by.
    pub tags: Tags,
    /// What its agent starts from.
    #[serde(with = "BootstrapForm")]
    pub bootstrap: Bootstrap,
    /// The agent, where it is another program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
}

/// Bytes that are no request, or can't be made from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not a request of ours, of any version.
    #[error("read the request of a local machine")]
    Unreadable(#[source] serde_json::Error),
    /// It can't be written as JSON.
    #[error("write the request of a local machine")]
    Unwritable(#[source] serde_json::Error),
}

impl Request {
    /// The request as it is sealed.
    pub fn to_bytes(&self) -> Result<SecretBytes, RequestError> {
        serde_json::to_vec(self)
            .map(SecretBytes::new)
            .map_err(RequestError::Unwritable)
    }

    /// The request that [`Request::to_bytes`] made.
    pub fn from_bytes(bytes: &SecretBytes) -> Result<Self, RequestError> {
        serde_json::from_slice(bytes.expose()).map_err(RequestError::Unreadable)
    }
}

/// [`Bootstrap`] in writing; the core type has no such form, so that it is not
/// written by accident.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Bootstrap")]
struct BootstrapForm {
    order: OrderId,
    attempt: Attempt,
    ca_pem: String,
    runner_name: String,
    #[serde(with = "secret_bytes")]
    secret: SecretBytes,
    clocks: Clocks,
}

pub(super) mod secret_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use vmpool_core::SecretBytes;

    pub(in super::super) fn serialize<S: Serializer>(
        secret: &SecretBytes,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<SecretBytes, D::Error> {
        Vec::deserialize(from).map(SecretBytes::new)
    }
}

#[cfg(test)]
mod tests {
    use vmpool_core::Timestamp;

    use super::*;

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let request = Request {
            tags: Tags {
                owner: "local-0".into(),
                deployment: "d".into(),
                pool: "p".into(),
                order: "o".into(),
                attempt: Attempt(2),
                expires_at: Timestamp(77),
            },
            bootstrap: Bootstrap {
                order: "o".into(),
                attempt: Attempt(2),
                ca_pem: "pem".into(),
                runner_name: "runner".into(),
                secret: SecretBytes::new(vec![0, 7, 255]),
                clocks: Clocks {
                    attached: true,
                    ..Clocks::default()
                },
            },
            program: Some(Program {
                command: vec!["/bin/agent".into()],
                ca_pem: "ca".into(),
                cert_pem: "cert".into(),
                key_pem: SecretBytes::new(vec![255]),
            }),
        };
        let read = Request::from_bytes(&request.to_bytes().expect("JSON")).expect("a request");
        assert_eq!(read.tags, request.tags);
        assert_eq!(read.bootstrap.secret, request.bootstrap.secret);
        assert_eq!(read.bootstrap.clocks, request.bootstrap.clocks);
        let program = read.program.as_ref().expect("a program");
        assert_eq!(program.key_pem.expose(), [255]);
        assert!(
            !format!("{read:?}").contains("255"),
            "P11: Debug shows the secret"
        );
    }

    #[test]
    fn bytes_of_another_kind_are_refused() {
        let error = Request::from_bytes(&SecretBytes::new(*b"{}")).expect_err("no request");
        assert!(matches!(error, RequestError::Unreadable(_)));
    }
}
