//! The variables that Drone gives to a build's steps: `CI` and `DRONE_*`.
//!
//! Three layers, the later over the earlier: those of the build, which are
//! also what `${…}` in the file is replaced by; those of the stage; those of
//! the step. What the build does not have (the tag of a push) is not set.

use crate::model::{Pipeline, PipelineType};
use crate::substitute::Variables;
use crate::version::{add_calver, add_semver};
use crate::when::Facts;

/// What a build is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// What `when` and `trigger` look at: event, branch, reference, repository, …
    pub facts: Facts,
    /// Its number, from 1.
    pub number: u64,
    /// When it began, in seconds of Unix time.
    pub started: u64,
    /// Where it can be looked at.
    pub link: String,
    /// Who or what started it.
    pub trigger: String,
    /// The commit that is built.
    pub commit: Commit,
    /// The repository it is from.
    pub repo: Repo,
}

/// A commit; empty where unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its hash.
    pub sha: String,
    /// The hash of the commit before it.
    pub before: String,
    /// Its whole message.
    pub message: String,
    /// Where it can be looked at.
    pub link: String,
    /// The branch that a pull request comes from.
    pub source_branch: String,
    /// The author's login at the host of the repository.
    pub author: String,
    /// The author's name.
    pub author_name: String,
    /// The author's mail address.
    pub author_email: String,
}

/// A repository; empty where unknown. Its name is in [`Facts::repo`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repo {
    /// Where it can be looked at.
    pub link: String,
    /// Its address for `git clone`.
    pub remote: String,
    /// Its default branch.
    pub branch: String,
}

/// Where and as what a pipeline runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage {
    /// Its number in the build, from 1.
    pub number: usize,
    /// When it began, in seconds of Unix time.
    pub started: u64,
    /// The machine's name.
    pub machine: String,
    /// The machine's operating system, as Drone calls it: `linux`, `darwin`.
    pub os: String,
    /// The machine's architecture, as Drone calls it: `amd64`, `arm64`.
    pub arch: String,
    /// The steps' working directory.
    pub workspace: String,
}

/// What has failed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failed<'a> {
    /// Steps of this pipeline.
    pub steps: &'a [String],
    /// Pipelines of this build.
    pub stages: &'a [String],
}

/// The build's variables: for [`parse`](crate::parse()) and for every step.
pub fn build_variables(build: &Build) -> Variables {
    let Build {
        facts,
        commit,
        repo,
        ..
    } = build;
    let (namespace, name) = facts.repo.rsplit_once('/').unwrap_or(("", &facts.repo));
    let source = first_of(&commit.source_branch, &facts.branch);
    let is_ssh = !repo.remote.contains("://") || repo.remote.starts_with("ssh://");
    let (http, ssh) = if is_ssh {
        ("", repo.remote.as_str())
    } else {
        (repo.remote.as_str(), "")
    };
    let number = build.number.to_string();
    let started = build.started.to_string();
    let mut variables = set(&[
        ("CI", "true"),
        ("DRONE", "true"),
        ("DRONE_BRANCH", &facts.branch),
        ("DRONE_BUILD_CREATED", &started),
        ("DRONE_BUILD_EVENT", &facts.event),
        ("DRONE_BUILD_LINK", &build.link),
        ("DRONE_BUILD_NUMBER", &number),
        ("DRONE_BUILD_STARTED", &started),
        ("DRONE_BUILD_TRIGGER", &build.trigger),
        ("DRONE_COMMIT", &commit.sha),
        ("DRONE_COMMIT_AFTER", &commit.sha),
        (
            "DRONE_COMMIT_AUTHOR",
            first_of(&commit.author, &commit.author_name),
        ),
        ("DRONE_COMMIT_AUTHOR_EMAIL", &commit.author_email),
        ("DRONE_COMMIT_AUTHOR_NAME", &commit.author_name),
        ("DRONE_COMMIT_BEFORE", &commit.before),
        ("DRONE_COMMIT_BRANCH", &facts.branch),
        ("DRONE_COMMIT_LINK", &commit.link),
        ("DRONE_COMMIT_MESSAGE", &commit.message),
        ("DRONE_COMMIT_REF", &facts.reference),
        ("DRONE_COMMIT_SHA", &commit.sha),
        ("DRONE_CRON", &facts.cron),
        ("DRONE_DEPLOY_TO", &facts.target),
        ("DRONE_GIT_HTTP_URL", http),
        ("DRONE_GIT_SSH_URL", ssh),
        ("DRONE_REMOTE_URL", &repo.remote),
        ("DRONE_REPO", &facts.repo),
        ("DRONE_REPO_BRANCH", &repo.branch),
        ("DRONE_REPO_LINK", &repo.link),
        ("DRONE_REPO_NAME", name),
        ("DRONE_REPO_NAMESPACE", namespace),
        ("DRONE_REPO_OWNER", namespace),
        ("DRONE_REPO_SCM", "git"),
        ("DRONE_SOURCE_BRANCH", source),
        ("DRONE_SYSTEM_HOST", &facts.instance),
        ("DRONE_SYSTEM_HOSTNAME", &facts.instance),
        ("DRONE_TARGET_BRANCH", &facts.branch),
    ]);
    if let Some(tag) = facts.reference.strip_prefix("refs/tags/") {
        variables.insert("DRONE_TAG".into(), tag.to_owned());
        add_semver(tag, &mut variables);
        add_calver(tag, &mut variables);
    }
    if let Some(number) = pull_request(&facts.reference) {
        variables.insert("DRONE_PULL_REQUEST".into(), number.to_owned());
    }
    variables.retain(|_, value| !value.is_empty());
    variables
}

/// The variables that a stage has besides those of its build.
pub fn stage_variables(pipeline: &Pipeline, stage: &Stage) -> Variables {
    let platform = &pipeline.platform;
    let number = stage.number.to_string();
    let started = stage.started.to_string();
    let depends_on = pipeline.depends_on.join(",");
    let pipeline_type = match pipeline.pipeline_type {
        Some(PipelineType::Docker) => "docker",
        Some(PipelineType::Exec) => "exec",
        Some(PipelineType::Aws) => "aws",
        Some(PipelineType::Vm) | None => "vm",
    };
    let mut variables = set(&[
        ("DRONE_STAGE_ARCH", &stage.arch),
        ("DRONE_STAGE_DEPENDS_ON", &depends_on),
        ("DRONE_STAGE_KIND", "pipeline"),
        ("DRONE_STAGE_MACHINE", &stage.machine),
        ("DRONE_STAGE_NAME", &pipeline.name),
        ("DRONE_STAGE_NUMBER", &number),
        ("DRONE_STAGE_OS", &stage.os),
        ("DRONE_STAGE_STARTED", &started),
        ("DRONE_STAGE_TYPE", pipeline_type),
        (
            "DRONE_STAGE_VARIANT",
            platform.variant.as_deref().unwrap_or_default(),
        ),
        (
            "DRONE_STAGE_VERSION",
            platform.version.as_deref().unwrap_or_default(),
        ),
        ("DRONE_WORKSPACE", &stage.workspace),
    ]);
    variables.retain(|_, value| !value.is_empty());
    variables
}

/// The variables that a step has besides those of its stage. `number` counts
/// from 1; `now` is in seconds of Unix time.
///
/// Something always stands in the variables of a build's and a stage's end and
/// state, which aren't known yet: the present moment, and how it looks so far.
pub fn step_variables(name: &str, number: usize, now: u64, failed: Failed<'_>) -> Variables {
    let status = |failed: bool| if failed { "failure" } else { "success" };
    let stage = status(!failed.steps.is_empty());
    let build = status(!failed.steps.is_empty() || !failed.stages.is_empty());
    let now = now.to_string();
    set(&[
        ("DRONE_BUILD_FINISHED", &now),
        ("DRONE_BUILD_STATUS", build),
        ("DRONE_FAILED_STAGES", &failed.stages.join(",")),
        ("DRONE_FAILED_STEPS", &failed.steps.join(",")),
        ("DRONE_STAGE_FINISHED", &now),
        ("DRONE_STAGE_STATUS", stage),
        ("DRONE_STEP_NAME", name),
        ("DRONE_STEP_NUMBER", &number.to_string()),
    ])
}

fn set(list: &[(&str, &str)]) -> Variables {
    list.iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn first_of<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.is_empty() { other } else { one }
}

/// The number in `refs/pull/12/head` and its like.
fn pull_request(reference: &str) -> Option<&str> {
    let mut parts = reference.split('/').skip(1);
    let is_pull = matches!(parts.next()?, "pull" | "pull-requests" | "merge-requests");
    parts.next().filter(|_| is_pull)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, parse};

    fn build(event: &str, reference: &str) -> Build {
        Build {
            facts: Facts {
                event: event.into(),
                branch: if event == "tag" {
                    String::new()
                } else {
                    "main".into()
                },
                reference: reference.into(),
                repo: "octocat/hello".into(),
                ..Facts::default()
            },
            number: 7,
            started: 915_148_800,
            commit: Commit {
                sha: "0123456789abcdef".into(),
                message: "first line\n\nbody".into(),
                author_name: "The Octocat".into(),
                author_email: "octocat@example.com".into(),
                ..Commit::default()
            },
            repo: Repo {
                remote: "git@example.com:octocat/hello.git".into(),
                ..Repo::default()
            },
            ..Build::default()
        }
    }

    fn listed(variables: &Variables) -> String {
        let lines: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn a_push_has_the_variables_of_a_push() {
        insta::assert_snapshot!(listed(&build_variables(&build("push", "refs/heads/main"))), @r#"
        CI="true"
        DRONE="true"
        DRONE_BRANCH="main"
        DRONE_BUILD_CREATED="915148800"
        DRONE_BUILD_EVENT="push"
        DRONE_BUILD_NUMBER="7"
        DRONE_BUILD_STARTED="915148800"
        DRONE_COMMIT="0123456789abcdef"
        DRONE_COMMIT_AFTER="0123456789abcdef"
        DRONE_COMMIT_AUTHOR="The Octocat"
        DRONE_COMMIT_AUTHOR_EMAIL="octocat@example.com"
        DRONE_COMMIT_AUTHOR_NAME="The Octocat"
        DRONE_COMMIT_BRANCH="main"
        DRONE_COMMIT_MESSAGE="first line\n\nbody"
        DRONE_COMMIT_REF="refs/heads/main"
        DRONE_COMMIT_SHA="0123456789abcdef"
        DRONE_GIT_SSH_URL="git@example.com:octocat/hello.git"
        DRONE_REMOTE_URL="git@example.com:octocat/hello.git"
        DRONE_REPO="octocat/hello"
        DRONE_REPO_NAME="hello"
        DRONE_REPO_NAMESPACE="octocat"
        DRONE_REPO_OWNER="octocat"
        DRONE_REPO_SCM="git"
        DRONE_SOURCE_BRANCH="main"
        DRONE_TARGET_BRANCH="main"
        "#);
    }

    #[test]
    fn a_tag_and_a_pull_request_have_their_own() {
        let tag = build_variables(&build("tag", "refs/tags/v1.2.3"));
        assert_eq!(tag["DRONE_TAG"], "v1.2.3");
        assert_eq!(tag["DRONE_SEMVER_SHORT"], "1.2.3");
        assert!(!tag.contains_key("DRONE_BRANCH") && !tag.contains_key("DRONE_PULL_REQUEST"));
        let mut build = build("pull_request", "refs/pull/12/head");
        build.commit.source_branch = "feature".into();
        let pull = build_variables(&build);
        assert_eq!(pull["DRONE_PULL_REQUEST"], "12");
        assert_eq!(pull["DRONE_SOURCE_BRANCH"], "feature");
        assert_eq!(pull["DRONE_TARGET_BRANCH"], "main");
        assert!(!pull.contains_key("DRONE_TAG"));
    }

    #[test]
    fn stage_and_step_have_theirs() {
        let text = "kind: pipeline\nname: b\ntype: exec\ndepends_on: [a]\nsteps: [{name: x, commands: [x]}]\n\
            ---\nkind: pipeline\nname: a\nsteps: [{name: x, commands: [x]}]\n";
        let parsed = parse("f", text, Dialect::Drone, &Variables::new()).unwrap();
        let stage = Stage {
            number: 1,
            started: 915_148_800,
            machine: "local-1".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            workspace: "/tmp/w".into(),
        };
        insta::assert_snapshot!(listed(&stage_variables(&parsed.file.pipelines[0], &stage)), @r#"
        DRONE_STAGE_ARCH="amd64"
        DRONE_STAGE_DEPENDS_ON="a"
        DRONE_STAGE_KIND="pipeline"
        DRONE_STAGE_MACHINE="local-1"
        DRONE_STAGE_NAME="b"
        DRONE_STAGE_NUMBER="1"
        DRONE_STAGE_OS="linux"
        DRONE_STAGE_STARTED="915148800"
        DRONE_STAGE_TYPE="exec"
        DRONE_WORKSPACE="/tmp/w"
        "#);
        let steps = ["one".to_owned(), "two".to_owned()];
        let failed = Failed {
            steps: &steps,
            stages: &[],
        };
        insta::assert_snapshot!(listed(&step_variables("x", 3, 915_148_801, failed)), @r#"
        DRONE_BUILD_FINISHED="915148801"
        DRONE_BUILD_STATUS="failure"
        DRONE_FAILED_STAGES=""
        DRONE_FAILED_STEPS="one,two"
        DRONE_STAGE_FINISHED="915148801"
        DRONE_STAGE_STATUS="failure"
        DRONE_STEP_NAME="x"
        DRONE_STEP_NUMBER="3"
        "#);
    }
}
