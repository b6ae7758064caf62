//! What git tells of the directory that is run: commit, branch, author, remote.
//!
//! Everything is optional: a directory that is no repository, or one without a
//! commit, can be run too.

use std::path::Path;

use crate::clone::git;

/// What git tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repository {
    /// The current branch; none where the head is detached.
    pub(crate) branch: Option<String>,
    /// The branch that `origin` takes for its main one.
    pub(crate) default_branch: Option<String>,
    /// The commit.
    pub(crate) commit: Option<Commit>,
    /// Where `origin` is, without a password.
    pub(crate) remote: Option<String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its full hash.
    pub(crate) sha: String,
    /// The first parent's; empty where there is none.
    pub(crate) before: String,
    /// Who wrote it.
    pub(crate) author_name: String,
    /// And with what address.
    pub(crate) author_email: String,
    /// What they said.
    pub(crate) message: String,
}

impl Repository {
    /// What git tells of `directory`; nothing where it can't.
    pub(crate) fn of(directory: &Path) -> Self {
        let ask = |arguments: &[&str]| -> Option<String> {
            let output = git(directory).args(arguments).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned();
            (output.status.success() && !text.is_empty()).then_some(text)
        };
        Self {
            branch: ask(&["symbolic-ref", "--short", "-q", "HEAD"]),
            default_branch: ask(&["symbolic-ref", "--short", "-q", "refs/remotes/origin/HEAD"])
                .and_then(|name| name.strip_prefix("origin/").map(str::to_owned)),
            commit: ask(&[
                "log",
                "-1",
                "--no-show-signature",
                "--format=%H%x00%P%x00%an%x00%ae%x00%B",
            ])
            .and_then(|text| Commit::read(&text)),
            remote: ask(&["config", "--get", "remote.origin.url"])
                .map(|url| without_password(&url)),
        }
    }

    /// Owner and name, as the remote's address ends: `octocat`, `hello`.
    pub(crate) fn slug(&self) -> Option<(String, String)> {
        slug_of(self.remote.as_deref()?)
    }
}

impl Commit {
    fn read(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, '\0');
        let mut field = || fields.next().map(str::to_owned);
        Some(Self {
            sha: field()?,
            before: field()?.split(' ').next().unwrap_or_default().to_owned(),
            author_name: field()?,
            author_email: field()?,
            message: field()?.trim_end().to_owned(),
        })
    }
}

/// Steps see the remote in their environment; its password is not theirs.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) if scheme != "ssh" || rest[..at].contains(':') => {
            format!("{scheme}://{}", &rest[at + 1..])
        }
        _ => url.to_owned(),
    }
}

fn slug_of(url: &str) -> Option<(String, String)> {
    // `host:owner/name` is ssh as git writes it for short.
    let path = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        None => {
            url.split_once(':')
                .filter(|(host, _)| !host.contains('/'))?
                .1
        }
    };
    let path = path.trim_matches('/');
    let (owner, name) = path.strip_suffix(".git").unwrap_or(path).rsplit_once('/')?;
    (!owner.is_empty() && !name.is_empty()).then(|| (owner.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_and_name_come_from_the_remotes_address() {
        for (url, slug) in [
            (
                "https://example.org/octocat/hello.git",
                Some("octocat hello"),
            ),
            (
                "https://example.org/group/sub/hello/",
                Some("group/sub hello"),
            ),
            ("git@example.org:octocat/hello.git", Some("octocat hello")),
            (
                "ssh://git@example.org:22/octocat/hello",
                Some("octocat hello"),
            ),
            ("https://example.org/hello", None),
            ("/srv/git/octocat/hello.git", None),
            ("file:///srv/git/octocat/hello.git", None),
            ("../hello", None),
            ("", None),
        ] {
            let found = slug_of(url).map(|(owner, name)| format!("{owner} {name}"));
            assert_eq!(found.as_deref(), slug, "{url}");
        }
    }

    #[test]
    fn a_remotes_password_is_not_told() {
        for (url, told) in [
            (
                "https://me:token@example.org/a/b",
                "https://example.org/a/b",
            ),
            ("https://token@example.org/a/b", "https://example.org/a/b"),
            ("https://a:p@ss@example.org/a/b", "https://example.org/a/b"),
            ("https://example.org/a/b@c", "https://example.org/a/b@c"),
            ("ssh://git@example.org/a/b", "ssh://git@example.org/a/b"),
            ("ssh://git:secret@example.org/a/b", "ssh://example.org/a/b"),
            ("git@example.org:a/b", "git@example.org:a/b"),
        ] {
            assert_eq!(without_password(url), told);
        }
    }

    #[test]
    fn a_commit_is_read_field_by_field() {
        let commit = Commit::read("c3\0b2 a1\0Mona Lisa\0mona@example.org\0Say it\n\nTwice.\n");
        assert_eq!(
            commit,
            Some(Commit {
                sha: "c3".into(),
                before: "b2".into(),
                author_name: "Mona Lisa".into(),
                author_email: "mona@example.org".into(),
                message: "Say it\n\nTwice.".into(),
            })
        );
    }

    #[test]
    fn a_directory_that_is_no_repository_has_nothing_to_tell() {
        let directory = tempfile::TempDir::new().unwrap();
        assert_eq!(Repository::of(directory.path()), Repository::default());
    }
}
