//! The constants and byte layouts of enrolment (DESIGN §7) that both ends must
//! agree on. The cryptography itself is done by the ends, with their library.

use crate::id::{Attempt, MachineId, OrderId};

/// ALPN of a connection on which an agent enrols, and does nothing else.
pub const ENROL_ALPN: &[u8] = b"vmpool-enrol/1";

/// ALPN of a connection on which an enrolled agent serves.
pub const SERVE_ALPN: &[u8] = b"h2";

/// Label under which both ends export keying material (RFC 8446 §7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-vmpool-enrol/1";

/// Bytes of exported keying material.
pub const EXPORTER_LEN: usize = 32;

/// What ends the name of every machine's certificate: `<machine id>.machine.vmpool`.
pub const MACHINE_DOMAIN: &str = "machine.vmpool";

/// Why an agent refuses to be enrolled, as it is written on the wire (metadata
/// key `vmpool-reason`).
pub mod refusal {
    /// A runner has connected with its certificate before.
    pub const ENROLLED: &str = "ENROLLED";
    /// The machine comes from another order.
    pub const OTHER_ORDER: &str = "OTHER_ORDER";
    /// The agent knows its machine by another id.
    pub const OTHER_MACHINE: &str = "OTHER_MACHINE";
}

/// The exporter's context: binds the proof to one order and one machine.
pub fn exporter_context(order: &OrderId, attempt: Attempt, machine: &MachineId) -> Vec<u8> {
    joined(&[
        order.as_str().as_bytes(),
        &attempt.0.to_be_bytes(),
        machine.as_str().as_bytes(),
    ])
}

/// What HKDF's `info` is for the enrolment secret of an order's attempt.
pub fn secret_info(order: &OrderId, attempt: Attempt) -> Vec<u8> {
    joined(&[
        b"vmpool enrolment secret",
        order.as_str().as_bytes(),
        &attempt.0.to_be_bytes(),
    ])
}

/// What the agent's HMAC covers: this connection and this request for a certificate.
pub fn proof_message(exporter: &[u8; EXPORTER_LEN], csr_der: &[u8]) -> Vec<u8> {
    joined(&[exporter, csr_der])
}

/// The name that `machine`'s certificate carries. Ids with characters that no
/// DNS name may have are written with those characters as `-`.
pub fn machine_name(machine: &MachineId) -> String {
    let label: String = machine
        .as_str()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    format!("{label}.{MACHINE_DOMAIN}")
}

/// Parts behind their lengths, so that no two lists of parts give the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
