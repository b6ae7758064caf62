//! What the runner reads from callers and operators, as the fuzz targets call it.
//!
//! The runner is a program and no library, so its modules are taken by their
//! files. What they name of two large crates is here instead of these: neither
//! is read by what is tested.

#![allow(
    dead_code,
    unused_imports,
    reason = "of the runner's modules only the reading is called"
)]

extern crate self as lite_engine;
extern crate self as vmpool_agent;

use vmpool_core::{PoolName, Secret};

#[path = "../../../lite-engine/src/output/mod.rs"]
pub mod output;
#[path = "../../src/serve/wire/mod.rs"]
mod wire;

#[path = "../../src/serve/access"]
mod access {
    pub(super) mod caller;
    pub(super) mod callers;
    mod rate;
}

/// As `vmpool_agent` has it: keys of a machine, which only answers have.
pub struct ThrowAway {
    pub ca_pem: String,
    pub ca_key_pem: Secret,
    pub agent_cert_pem: String,
    pub agent_key_pem: Secret,
}

/// The longest sentence that a file's error is told by.
const LONGEST: usize = 2000;

/// Bodies of the routes for builds: anything is read, or refused with a text.
pub fn requests(body: &[u8]) {
    let refused = [
        wire::SetupVm::read(body).err(),
        wire::ExecuteVm::read(body).err(),
        wire::DestroyVm::read(body).err(),
        Some(wire::SuspendVm::read(body)),
    ];
    for answer in refused.into_iter().flatten() {
        let text = String::from_utf8_lossy(&answer.body);
        let why = answer.error();
        let is_refusal = match answer.status.as_u16() {
            // A step that can't be carried out has ended so.
            200 => text.contains("\"exit_code\":255,\"error\":\""),
            400 => !why.is_empty(),
            500 => why.contains("storage_config.boot_disk_size"),
            _ => false,
        };
        assert!(is_refusal, "{answer:?}");
    }
}

/// Queries of `/pool_owner`: names that can be shown, or a refusal.
pub fn pool_owner(query: &str) {
    match wire::pool_owner(query) {
        Ok((pool, _)) => {
            PoolName::parse(pool.as_str()).expect("it was checked");
        }
        Err(answer) => assert!(answer.status.is_client_error(), "{answer:?}"),
    }
}

/// A file of callers and their tokens: taken as a whole, or refused in a sentence
/// that does not repeat the file.
pub fn callers(text: &[u8]) {
    match access::callers::Callers::read(text) {
        Ok(callers) => {
            assert!(callers.len() > 0);
            assert!(
                callers.by_token(b"").is_none(),
                "an empty token is nobody's"
            );
        }
        Err(error) => assert!(error.to_string().len() < LONGEST, "{error}"),
    }
}
