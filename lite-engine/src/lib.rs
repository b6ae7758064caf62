//! The agent of vmpool.
pub mod config;
pub mod enrol;
pub mod holder;
pub mod host;
pub mod identity;
pub mod listener;
pub mod log;
pub mod mask;
mod mounts;
mod process;
pub mod supervisor;

/// Is the agent, until its machine ends. Under construction: it says so and ends.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the agent owns what it starts from"
)]
pub fn run(config: config::AgentConfig) -> std::process::ExitCode {
    eprintln!(
        "the agent of machine {} is under construction",
        config.machine
    );
    std::process::ExitCode::FAILURE
}
