//! The options of `vmpool sweep`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::client::KeyArgs;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool sweep                              show what the runner on this host would end
  vmpool sweep --yes                        have it end expired machines of its deployment
  vmpool sweep --pool pool.yml --state /var/lib/vmpool      the same without a runner
  vmpool sweep --pool pool.yml --deployment-id 4be1… --yes  end all machines of another one

Exit codes: 0 all that was to end was told to; 1 a machine could not be ended, or a provider could \
not be asked; 2 bad input; 4 no runner reachable";

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Ask the providers of this pool file alone, and no runner
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: Option<PathBuf>,

    /// The runner that is to ask its providers [default: http://127.0.0.1:3001]
    #[arg(long, value_name = "URL", conflicts_with = "pool", value_hint = ValueHint::Url)]
    pub(crate) runner: Option<String>,

    /// The state directory: of the runner that is to ask; with --pool, where the deployment's id
    /// is (if that is lost, every machine is another's)
    #[arg(long, value_name = "DIR", conflicts_with = "runner", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    /// Where the deployment's CA and id are [default: STATE]
    #[arg(long, value_name = "DIR", requires = "pool", value_hint = ValueHint::DirPath)]
    pub(crate) trust: Option<PathBuf>,

    /// The name that the machines are tagged with [default: local-UID]
    #[arg(long, value_name = "NAME", requires = "pool")]
    pub(crate) deployment: Option<String>,

    /// End all machines of this deployment id, expired or not, and no others
    #[arg(long, value_name = "ID")]
    pub(crate) deployment_id: Option<String>,

    /// End them; without it nothing is ended, only shown
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) keys: KeyArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
