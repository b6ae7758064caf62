//! `when` and `trigger`: whether a step or a pipeline takes part in a build.
//!
//! As in Drone: a condition is a list of patterns or `include` and `exclude`
//! lists; an excluding pattern wins, then one of the including ones must match
//! where there are any; all conditions must hold. Patterns are globs in which
//! `*` stops at a slash and `**` between slashes doesn't.
//!
//! `status` is apart, because it is known only once the steps before have
//! ended: see [`Conditions::runs_on`].

use globset::{GlobBuilder, GlobMatcher};

use crate::diagnostic::plain;

/// What is known of a build before it begins; empty where something does not
/// apply, as the branch of a tag or the target of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `push`, `pull_request`, `tag`, `promote`, `rollback`, `cron` or `custom`.
    pub event: String,
    /// The branch; the target branch of a pull request.
    pub branch: String,
    /// The git reference, like `refs/heads/main`.
    pub reference: String,
    /// The repository, like `octocat/hello`.
    pub repo: String,
    /// The host name of the CI server.
    pub instance: String,
    /// Where a promotion or a rollback goes to.
    pub target: String,
    /// The name of the cron job.
    pub cron: String,
}

/// A glob pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    glob: GlobMatcher,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// The longest pattern, in bytes.
    const LONGEST: usize = 500;

    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > Self::LONGEST {
            return Err(PatternError(format!(
                "a pattern has at most {} bytes",
                Self::LONGEST
            )));
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .map_err(|error| PatternError(error.kind().to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            glob: glob.compile_matcher(),
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches the whole of `value`.
    pub fn matches(&self, value: &str) -> bool {
        self.text == value || self.glob.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// The patterns of one condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraint {
    /// One of these must match, where there are any.
    pub include: Vec<Pattern>,
    /// None of these may match.
    pub exclude: Vec<Pattern>,
}

impl Constraint {
    /// Whether it holds for `value`.
    pub fn matches(&self, value: &str) -> bool {
        !matching(&self.exclude, value)
            && (self.include.is_empty() || matching(&self.include, value))
    }

    /// Whether it always holds.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Why it does not hold for `value`, if it doesn't.
    fn unmet(&self, noun: &str, value: &str) -> Option<String> {
        let (how, patterns) = if matching(&self.exclude, value) {
            ("excluded by", &self.exclude)
        } else if !self.matches(value) {
            ("not in", &self.include)
        } else {
            return None;
        };
        let value = if value.is_empty() {
            "(none)".into()
        } else {
            plain(value)
        };
        Some(format!("{noun} {value} is {how} {}", list(patterns)))
    }
}

fn matching(patterns: &[Pattern], value: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(value))
}

fn list(patterns: &[Pattern]) -> String {
    let patterns: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
    format!("[{}]", plain(&patterns.join(", ")))
}

/// A `when` or a `trigger`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// On [`Facts::event`].
    pub event: Constraint,
    /// On [`Facts::branch`].
    pub branch: Constraint,
    /// On [`Facts::reference`]: the file's `ref`.
    pub reference: Constraint,
    /// On [`Facts::repo`].
    pub repo: Constraint,
    /// On [`Facts::instance`].
    pub instance: Constraint,
    /// On [`Facts::target`].
    pub target: Constraint,
    /// On [`Facts::cron`].
    pub cron: Constraint,
    /// On what became of the steps before.
    pub status: Constraint,
}

impl Conditions {
    /// Why these conditions, `status` apart, do not hold, if they don't:
    /// `branch feature/x is not in [main]`.
    pub fn unmet(&self, facts: &Facts) -> Option<String> {
        let conditions = [
            ("event", &self.event, &facts.event),
            ("branch", &self.branch, &facts.branch),
            ("ref", &self.reference, &facts.reference),
            ("repo", &self.repo, &facts.repo),
            ("instance", &self.instance, &facts.instance),
            ("target", &self.target, &facts.target),
            ("cron", &self.cron, &facts.cron),
        ];
        conditions
            .into_iter()
            .find_map(|(noun, condition, value)| condition.unmet(noun, value))
    }

    /// After what it runs. Where `status` is silent: after success only.
    pub fn runs_on(&self) -> RunsOn {
        let failure = !self.status.is_empty() && self.status.matches("failure");
        RunsOn {
            success: !failure || self.status.matches("success"),
            failure,
        }
    }
}

/// After what a step or a pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsOn {
    /// While nothing has failed.
    pub success: bool,
    /// Once something has failed.
    pub failure: bool,
}

impl Default for RunsOn {
    fn default() -> Self {
        Self {
            success: true,
            failure: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter()
            .map(|text| Pattern::new(text).unwrap())
            .collect()
    }

    fn include(list: &[&str]) -> Constraint {
        Constraint {
            include: patterns(list),
            exclude: Vec::new(),
        }
    }

    #[test]
    fn patterns_match_as_drones_do() {
        for (pattern, value, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("main", "Main", false),
            ("feature/*", "feature/x", true),
            ("feature/*", "feature/x/y", false),
            ("feature/**", "feature/x/y", true),
            ("*", "main", true),
            ("*", "feature/x", false),
            ("**", "feature/x", true),
            ("refs/heads/**", "refs/heads/feature/x", true),
            ("refs/pull/*/head", "refs/pull/12/head", true),
            ("refs/tags/v?.*", "refs/tags/v1.2", true),
            ("v[0-9]*", "v1", true),
            ("v[!0-9]*", "v1", false),
            ("{main,release/*}", "release/1", true),
            ("*-rc", ".x-rc", true),
            (r"a\*", "a*", true),
            ("main", "", false),
        ] {
            let matches = Pattern::new(pattern).unwrap().matches(value);
            assert_eq!(matches, expected, "{pattern} {value}");
        }
    }

    #[test]
    fn a_broken_pattern_is_refused() {
        for text in [
            "[a",
            "{a",
            "a}",
            "[z-a]",
            &"x".repeat(501),
            &"{a,b}".repeat(99),
        ] {
            // Whatever is accepted must at least be usable.
            if let Ok(pattern) = Pattern::new(text) {
                pattern.matches("a");
            }
        }
        assert!(Pattern::new("[a").is_err());
        assert!(Pattern::new(&"x".repeat(501)).is_err());
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let constraint = Constraint {
            include: patterns(&["release/*"]),
            exclude: patterns(&["release/1.*"]),
        };
        assert!(constraint.matches("release/2.0"));
        assert!(!constraint.matches("release/1.0"));
        assert!(!constraint.matches("main"));
        assert!(Constraint::default().matches(""));
    }

    #[test]
    fn the_reason_names_value_and_patterns() {
        let facts = Facts {
            event: "push".into(),
            branch: "feature/x".into(),
            ..Facts::default()
        };
        let mut conditions = Conditions {
            branch: include(&["main", "release/*"]),
            ..Conditions::default()
        };
        let reason = conditions.unmet(&facts);
        assert_eq!(
            reason.as_deref(),
            Some("branch feature/x is not in [main, release/*]")
        );

        conditions.branch = Constraint {
            include: Vec::new(),
            exclude: patterns(&["feature/*"]),
        };
        let reason = conditions.unmet(&facts);
        assert_eq!(
            reason.as_deref(),
            Some("branch feature/x is excluded by [feature/*]")
        );

        conditions.branch = Constraint::default();
        assert_eq!(conditions.unmet(&facts), None);
        conditions.cron = include(&["nightly"]);
        assert_eq!(
            conditions.unmet(&facts).as_deref(),
            Some("cron (none) is not in [nightly]")
        );
    }

    #[test]
    fn status_decides_after_what_a_step_runs() {
        let runs_on = |status: Constraint| {
            let RunsOn { success, failure } = Conditions {
                status,
                ..Conditions::default()
            }
            .runs_on();
            (success, failure)
        };
        assert_eq!(runs_on(Constraint::default()), (true, false));
        assert_eq!(runs_on(include(&["success"])), (true, false));
        assert_eq!(runs_on(include(&["failure"])), (false, true));
        assert_eq!(runs_on(include(&["success", "failure"])), (true, true));
        assert_eq!(runs_on(include(&["changed"])), (true, false));
        let exclude = Constraint {
            include: Vec::new(),
            exclude: patterns(&["success"]),
        };
        assert_eq!(runs_on(exclude), (false, true));
    }
}
