//! What the run is of, for triggers and the `DRONE_*` variables: what git says,
//! and over it what the command line says.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use vmpool_pipeline::{Build, Commit, Facts, Repo};

use super::repository::Repository;
use crate::cli::ExecArgs;

/// The build of `directory`.
///
/// A pull request's branch is the one it goes into, so there the current branch
/// is where it comes from.
pub(crate) fn build(args: &ExecArgs, repository: &Repository, directory: &Path) -> Build {
    let is_tag = args.tag.is_some();
    let event = args
        .event
        .clone()
        .unwrap_or_else(|| if is_tag { "tag" } else { "push" }.into());
    let current = repository.branch.clone().unwrap_or_default();
    let is_pull_request = event == "pull_request";
    let branch = match &args.branch {
        Some(branch) => branch.clone(),
        None if is_tag => String::new(),
        None if is_pull_request => repository
            .default_branch
            .clone()
            .unwrap_or_else(|| current.clone()),
        None => current.clone(),
    };
    let reference = match (&args.reference, &args.tag) {
        (Some(reference), _) => reference.clone(),
        (None, Some(tag)) => format!("refs/tags/{tag}"),
        (None, None) if is_pull_request => "refs/pull/0/head".into(),
        (None, None) if branch.is_empty() => String::new(),
        (None, None) => format!("refs/heads/{branch}"),
    };
    let repo = match repository.slug() {
        Some((owner, name)) => format!("{owner}/{name}"),
        None => directory
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    Build {
        facts: Facts {
            event,
            branch,
            reference,
            repo,
            instance: String::new(),
            target: args.target.clone().unwrap_or_default(),
            cron: args.cron.clone().unwrap_or_default(),
        },
        number: 1,
        started: unix_now(),
        commit: commit(repository, is_pull_request.then_some(current)),
        repo: Repo {
            remote: repository.remote.clone().unwrap_or_default(),
            branch: repository.default_branch.clone().unwrap_or_default(),
            ..Repo::default()
        },
        ..Build::default()
    }
}

/// The present, in seconds of Unix time.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn commit(repository: &Repository, source_branch: Option<String>) -> Commit {
    let source_branch = source_branch.unwrap_or_default();
    let Some(commit) = &repository.commit else {
        return Commit {
            source_branch,
            ..Commit::default()
        };
    };
    Commit {
        sha: commit.sha.clone(),
        before: commit.before.clone(),
        message: commit.message.clone(),
        author_name: commit.author_name.clone(),
        author_email: commit.author_email.clone(),
        source_branch,
        ..Commit::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn facts(arguments: &[&str]) -> Facts {
        let cli = Cli::parse_from([&["vmpool", "exec"], arguments].concat());
        let Some(Command::Exec(args)) = cli.command else {
            panic!("it is exec")
        };
        let repository = Repository {
            branch: Some("feature/x".into()),
            default_branch: Some("main".into()),
            remote: Some("git@example.org:octocat/hello.git".into()),
            ..Repository::default()
        };
        build(&args, &repository, Path::new("/src/hello")).facts
    }

    fn seen(arguments: &[&str]) -> [String; 3] {
        let Facts {
            event,
            branch,
            reference,
            ..
        } = facts(arguments);
        [event, branch, reference]
    }

    #[test]
    fn a_push_of_the_current_branch_is_the_default() {
        assert_eq!(seen(&[]), ["push", "feature/x", "refs/heads/feature/x"]);
        assert_eq!(facts(&[]).repo, "octocat/hello");
    }

    #[test]
    fn options_go_over_what_git_says() {
        assert_eq!(
            seen(&["--branch", "main"]),
            ["push", "main", "refs/heads/main"]
        );
        assert_eq!(seen(&["--tag", "v1"]), ["tag", "", "refs/tags/v1"]);
        assert_eq!(seen(&["--tag", "v1", "--event", "promote"])[0], "promote");
        assert_eq!(
            seen(&["--event", "pull_request"]),
            ["pull_request", "main", "refs/pull/0/head"]
        );
        assert_eq!(seen(&["--ref", "refs/x"]), ["push", "feature/x", "refs/x"]);
    }

    #[test]
    fn a_directory_without_a_repository_has_its_name_and_no_branch() {
        let cli = Cli::parse_from(["vmpool", "exec"]);
        let Some(Command::Exec(args)) = cli.command else {
            panic!("it is exec")
        };
        let build = build(&args, &Repository::default(), Path::new("/src/hello"));
        assert_eq!(build.facts.repo, "hello");
        assert_eq!(
            (build.facts.branch.as_str(), build.facts.reference.as_str()),
            ("", "")
        );
    }
}
