//! The command line of a step of kind `RunTest`: all tests of a build tool.
//!
//! Which tests a change concerns is not looked at: all are run.

use vmpool_proto::incumbent::RunTest;

/// Entrypoint and commands.
///
/// # Errors
/// Nobody knows this language and build tool.
pub(super) fn of(tests: &RunTest) -> Result<(Vec<String>, Vec<String>), String> {
    let args = tests.args.trim();
    let tool = match (tests.language.as_str(), tests.build_tool.as_str()) {
        ("java" | "kotlin" | "scala", "maven") => "mvn",
        ("java" | "kotlin" | "scala", "gradle") => {
            // As the incumbent: the project's own where it has one.
            "if [ -x ./gradlew ]; then gradle=./gradlew; else gradle=gradle; fi; $gradle"
        }
        ("java" | "kotlin" | "scala", "bazel") => "bazel",
        ("scala", "sbt") => "sbt",
        ("csharp", "dotnet") => "dotnet test",
        ("csharp", "nunitconsole") => "nunit3-console",
        ("python", "pytest") => "pytest",
        ("python", "unittest") => "python3 -m unittest",
        ("ruby", "rspec") => "bundle exec rspec",
        (language, tool) => {
            return Err(format!(
                "run_test: no tests are known for language `{language}` with build tool `{tool}`"
            ));
        }
    };
    let lines = [
        tests.pre_command.clone(),
        format!("{tool} {args}").trim_end().to_owned(),
        tests.post_command.clone(),
    ];
    let script: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let entrypoint = if tests.entrypoint.is_empty() {
        vec!["sh".into(), "-c".into()]
    } else {
        tests.entrypoint.clone()
    };
    Ok((entrypoint, vec![script.join("\n")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(language: &str, build_tool: &str) -> RunTest {
        RunTest {
            language: language.into(),
            build_tool: build_tool.into(),
            args: "-q".into(),
            pre_command: "before".into(),
            post_command: "after".into(),
            ..RunTest::default()
        }
    }

    #[test]
    fn all_tests_of_a_tool_are_run_between_what_comes_before_and_after() {
        let (entrypoint, commands) = of(&test("python", "pytest")).expect("known");
        assert_eq!(entrypoint, ["sh", "-c"]);
        assert_eq!(commands, ["before\npytest -q\nafter"]);
    }

    #[test]
    fn p13_an_unknown_tool_is_named() {
        let error = of(&test("cobol", "make")).expect_err("unknown");
        assert!(
            error.contains("`cobol`") && error.contains("`make`"),
            "{error}"
        );
    }
}
