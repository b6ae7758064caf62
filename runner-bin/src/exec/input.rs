//! What the command is given: the pipeline file, git, files of secrets and
//! variables, options. Read once, before anything is started; every mistake
//! ends the command with exit code 2.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use vmpool_pipeline::{Choice, build_variables};

use super::environment::of_host;
use super::facts::build;
use super::plan::{Given, Plan};
use super::repository::Repository;
use super::variables::{Secrets, variables};
use crate::cli::ExecArgs;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::pipeline_file;

/// The files that are run where none is named, the first that is there.
const USUAL_FILES: [&str; 2] = [".vmpool.yml", ".drone.yml"];

/// What is to run, and how widely.
#[derive(Debug)]
pub(super) struct Input {
    /// The file's name, as it was given or found.
    pub(super) file: String,
    pub(super) plan: Plan,
    /// Machines at most at the same time.
    pub(super) jobs: u32,
}

impl Input {
    /// Reads it all.
    ///
    /// # Errors
    /// Something can't be read, or is wrong.
    pub(super) fn read(args: &ExecArgs) -> Result<Self, Stopped> {
        let directory = std::env::current_dir()
            .context("find the current directory")
            .or_exit(Exit::BadInput)?;
        if directory.to_str().is_none() {
            return Err(anyhow!("the name of the current directory is not UTF-8"))
                .or_exit(Exit::BadInput);
        }
        let path = match &args.file {
            Some(path) => path.clone(),
            None => usual_file(&directory).or_exit(Exit::BadInput)?,
        };
        let build = build(args, &Repository::of(&directory), &directory);
        let parsed = pipeline_file::read(&path, &build_variables(&build))?;
        let mut warnings = Vec::new();
        let secrets = Secrets::read(&args.secret_file, &mut warnings).or_exit(Exit::BadInput)?;
        let mut env = of_host();
        env.extend(variables(&args.env_file).or_exit(Exit::BadInput)?);
        let given = Given {
            build,
            choice: Choice {
                include: args.include.clone(),
                exclude: args.exclude.clone(),
            },
            secrets,
            env,
            directory,
            program: std::env::current_exe()
                .context("find this program")
                .or_exit(Exit::Failed)?,
            mount: args.mount,
            ignore_image: args.ignore_image,
            timeout: args.timeout,
        };
        let mut plan = Plan::new(&parsed.file, &given).or_exit(Exit::BadInput)?;
        warnings.append(&mut plan.warnings);
        plan.warnings = parsed
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(warnings)
            .collect();
        Ok(Self {
            file: path.display().to_string(),
            plan,
            jobs: jobs(args),
        })
    }
}

fn usual_file(directory: &Path) -> anyhow::Result<PathBuf> {
    USUAL_FILES
        .iter()
        .map(PathBuf::from)
        .find(|file| directory.join(file).exists())
        .ok_or_else(|| {
            anyhow!(
                "there is no {} in {}; name a pipeline file: vmpool exec FILE",
                USUAL_FILES.join(" or "),
                directory.display()
            )
        })
}

fn jobs(args: &ExecArgs) -> u32 {
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    args.jobs
        .unwrap_or_else(|| u32::try_from(cpus()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_file_goes_before_drones() {
        let directory = tempfile::TempDir::new().unwrap();
        let error = usual_file(directory.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no .vmpool.yml or .drone.yml in "),
            "{error}"
        );
        std::fs::write(directory.path().join(".drone.yml"), "").unwrap();
        assert_eq!(
            usual_file(directory.path()).unwrap(),
            Path::new(".drone.yml")
        );
        std::fs::write(directory.path().join(".vmpool.yml"), "").unwrap();
        assert_eq!(
            usual_file(directory.path()).unwrap(),
            Path::new(".vmpool.yml")
        );
    }
}
