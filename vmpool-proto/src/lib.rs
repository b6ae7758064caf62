//! The wire formats of vmpool: the code made from `proto/`, and nothing else.

/// How a runner speaks to the agent of one machine: `vmpool.agent.v1`.
pub mod agent {
    /// The first version.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("vmpool.agent.v1");
    }
}
