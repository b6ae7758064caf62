//! `vmpool delegate`: `vmpool serve` under the incumbent's name, with its
//! environment.
//!
//! ```text
//! environment, --envfile ──► table of variables ──► options, sentences ──► exec `vmpool serve …`
//! ```
//! It is a translation and nothing else: once the options are known, this
//! process becomes `vmpool serve` with them, so that signals, upgrades and
//! process managers find what they always find. What a variable asks for that
//! is done in another way is said in one sentence; what can't be done at all
//! ends the program before anything is begun (P13).

mod environment;
mod test_pool;
mod variables;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, ValueHint};

use self::environment::Environment;
use self::variables::Meaning;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::{complain, say};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool delegate --pool pool.yml
  vmpool delegate --pool pool.yml --envfile /etc/runner.env --state /var/lib/vmpool
  vmpool delegate --pool pool.yml -- --grpc-listen 127.0.0.1:4001 --compat-keys
  vmpool delegate --variables    every variable, and what becomes of it

Exit codes: as `vmpool serve`; 2 where a variable asks for what can't be done";

#[derive(Debug, Args)]
pub(crate) struct DelegateArgs {
    /// The pools to keep: the incumbent's pool file [default: one pool `testpool` of EC2
    /// machines, from the environment]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: Option<PathBuf>,

    /// Variables, a line each as NAME=VALUE; those that are set already stay
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) envfile: Option<PathBuf>,

    /// What the runner must not forget [default: DRONE_DATABASE_DATASOURCE with `.vmpool` at its end]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    /// Print the table of variables, in Markdown, and do nothing else
    #[arg(long)]
    pub(crate) variables: bool,

    /// Further options of `vmpool serve`; they count more than the environment
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<OsString>,
}

/// Becomes `vmpool serve`.
///
/// # Errors
/// The environment asks for what can't be done, or the program can't be executed.
pub(crate) fn delegate(args: &DelegateArgs) -> Result<Exit, Stopped> {
    if args.variables {
        say(variables::table())?;
        return Ok(Exit::Success);
    }
    let environment = Environment::read(args.envfile.as_deref()).or_exit(Exit::BadInput)?;
    let meaning = Meaning::of(&environment, args.state.as_deref()).or_exit(Exit::BadInput)?;
    for sentence in &meaning.sentences {
        complain(sentence);
    }
    let pool = match &args.pool {
        Some(pool) => pool.clone(),
        None => test_pool::write(&environment, &meaning.state).or_exit(Exit::BadInput)?,
    };
    let program = std::env::current_exe().context("find this program");
    let mut serve = Command::new(program.or_exit(Exit::Failed)?);
    serve
        .arg("serve")
        .arg("--pool")
        .arg(pool)
        .arg("--state")
        .arg(&meaning.state);
    let given = |option: &str| {
        args.options.iter().any(|given| {
            let given = given.to_string_lossy();
            given == option || given.starts_with(&format!("{option}="))
        })
    };
    for (option, value) in &meaning.options {
        if !given(option) {
            serve.arg(format!("{option}={value}"));
        }
    }
    let guarded = ["--tokens", "--tls-client-ca", "--open"];
    if meaning.open && !guarded.into_iter().any(given) {
        serve.arg("--open");
    }
    serve.args(&args.options);
    // Not as arguments, which others can read.
    serve.envs(environment.added()).envs(&meaning.variables);
    let failed = serve.exec();
    Err(failed)
        .context("become `vmpool serve`")
        .or_exit(Exit::Failed)
}
