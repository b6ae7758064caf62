//! The wire formats of vmpool: the code made from `proto/`, the incumbent's
//! JSON, and nothing else.

pub mod incumbent;

/// How a runner speaks to the agent of one machine: `vmpool.agent.v1`.
pub mod agent {
    /// The first version.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("vmpool.agent.v1");
    }
}

/// What runners of one deployment ask each other: `vmpool.peer.v1`.
pub mod peer {
    /// The first version.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("vmpool.peer.v1");
    }
}

/// What CI systems, people and programs ask a runner: `vmpool.v1`.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    tonic::include_proto!("vmpool.v1");

    /// These services and messages as a `google.protobuf.FileDescriptorSet`,
    /// for callers that learn them by reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/vmpool.v1.bin"));
}
