//! The options of `vmpool sweep`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool sweep --pool pool.yml --state /var/lib/vmpool           show what would be ended
  vmpool sweep --pool pool.yml --state /var/lib/vmpool --yes     end expired machines of ours
  vmpool sweep --pool pool.yml --deployment-id 4be1… --yes       end all machines of another one

Exit codes: 0 all that was to end was told to; 1 a machine could not be ended, or a provider could \
not be asked; 2 bad input";

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The pools whose providers are asked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: PathBuf,

    /// Where the deployment's id is; without it, or if it is lost, every machine is another's
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    /// Where the deployment's CA and id are [default: STATE]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) trust: Option<PathBuf>,

    /// The name that the machines are tagged with [default: local-UID]
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: Option<String>,

    /// End all machines of this deployment id, expired or not, and no others
    #[arg(long, value_name = "ID")]
    pub(crate) deployment_id: Option<String>,

    /// End them; without it nothing is ended, only shown
    #[arg(long)]
    pub(crate) yes: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
