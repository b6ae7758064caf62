//! Expressions against what Drone makes of them, and hostile ones.

use super::*;
use crate::yaml::{Duplicates, documents};

fn variables() -> Variables {
    [
        ("DRONE_BRANCH", "feature/x/y"),
        ("DRONE_COMMIT_SHA", "0123456789abcdef"),
        ("DRONE_COMMIT_MESSAGE", "first: \"line\"\n# second"),
        ("DRONE_TAG", "v1.2.3"),
        ("EMPTY", ""),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The file's first document with the values in, printed, and the findings.
fn resolve(text: &str) -> (Node, Report) {
    let masked = mask(text).unwrap();
    assert_eq!(masked.text.chars().count(), text.chars().count());
    assert_eq!(masked.unmask(&masked.text), text);
    let mut node = documents(&masked.text, Duplicates::Refuse)
        .unwrap()
        .remove(0);
    let mut report = Report::new("f");
    let variables = variables();
    Substitution::new(&masked).resolve(&mut node, &variables, &mut report);
    (node, report)
}

/// What a plain scalar becomes.
fn value(scalar: &str) -> String {
    let (node, report) = resolve(&format!("a: {scalar}\n"));
    assert_eq!(report.errors, [], "{scalar}");
    let Value::Map(entries) = node.value else {
        panic!("a map")
    };
    match &entries[0].value.value {
        Value::Scalar(_, text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    resolve(text)
        .1
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn expressions_become_the_values_that_drone_gives_them() {
    for (written, expected) in [
        ("x${DRONE_TAG}y", "xv1.2.3y"),
        ("${DRONE_COMMIT_SHA:0:8}", "01234567"),
        ("${DRONE_COMMIT_SHA:10}", "abcdef"),
        ("${DRONE_TAG##v}", "1.2.3"),
        ("${DRONE_BRANCH#*/}", "x/y"),
        ("${DRONE_BRANCH##*/}", "y"),
        ("${DRONE_BRANCH%/*}", "feature/x"),
        ("${DRONE_BRANCH%%/*}", "feature"),
        (r"${DRONE_BRANCH/\\//-}", "feature-x/y"),
        (r"${DRONE_BRANCH//\\//-}", "feature-x-y"),
        (r"${DRONE_BRANCH//\//-}", "feature-x-y"),
        (r#""${DRONE_BRANCH//\\//-}""#, "feature-x-y"),
        ("${DRONE_BRANCH/#feature/f}", "f/x/y"),
        ("${DRONE_BRANCH/%y/z}", "feature/x/z"),
        ("${DRONE_TAG/./}", "v12.3"),
        ("${DRONE_BRANCH^}", "Feature/x/y"),
        ("${DRONE_TAG^^}", "V1.2.3"),
        ("${#DRONE_TAG}", "6"),
        ("${UNSET=x}", "x"),
        ("${UNSET:=x}", "x"),
        ("${EMPTY=x}", "x"),
        ("${UNSET:-x}", "x"),
        ("${UNSET:-${DRONE_TAG}-y}", "v1.2.3-y"),
        ("${UNSET:-$HOME}", "$HOME"),
        ("${DRONE_PULL_REQUEST}", ""),
        ("x $DRONE_TAG", "x $DRONE_TAG"),
        ("x $${DRONE_TAG}", "x ${DRONE_TAG}"),
        ("x $$${DRONE_TAG}", "x $v1.2.3"),
        ("x $${A=${DRONE_TAG}}", "x ${A=v1.2.3}"),
        ("x $$(id) $ $", "x $(id) $ $"),
        (
            "x \u{f0000}\u{f0001} ${DRONE_TAG}",
            "x \u{f0000}\u{f0001} v1.2.3",
        ),
    ] {
        assert_eq!(value(written), expected, "{written}");
    }
}

#[test]
fn a_value_is_text_whatever_is_in_it() {
    assert_eq!(
        value("${DRONE_COMMIT_MESSAGE}"),
        "first: \"line\"\n# second"
    );
    assert_eq!(
        value("'x ${DRONE_COMMIT_MESSAGE}'"),
        "x first: \"line\"\n# second"
    );
    let (node, _) = resolve("a: [${DRONE_TAG}, {b: ${DRONE_COMMIT_MESSAGE}}]\n");
    let Value::Map(entries) = node.value else {
        panic!("a map")
    };
    let Value::List(items) = &entries[0].value.value else {
        panic!("a list")
    };
    assert_eq!(
        items[0].value,
        Value::Scalar(ScalarKind::Text, "v1.2.3".into())
    );
    assert_eq!(items[0].place, Place { line: 1, column: 5 });
    assert_eq!(
        items[1].place,
        Place {
            line: 1,
            column: 19
        }
    );
}

#[test]
fn in_a_command_a_value_of_several_lines_stays_one_word() {
    let (node, _) = resolve("commands:\n- echo ${DRONE_COMMIT_MESSAGE}\n");
    let Value::Map(entries) = node.value else {
        panic!("a map")
    };
    let Value::List(items) = &entries[0].value.value else {
        panic!("a list")
    };
    let expected = r#"echo "first: \"line\"\n# second""#;
    assert_eq!(
        items[0].value,
        Value::Scalar(ScalarKind::Text, expected.into())
    );
}

#[test]
fn an_expression_that_means_the_shell_is_refused_with_its_place() {
    insta::assert_snapshot!(errors("a:\n  b: [x, '${ARRAY[0]}']\n").join("\n"), @"f:2:10: a.b[1]: `${ARRAY[0]}`: no such substitution; write `$NAME` or `$${…}` where the shell is meant");
    insta::assert_snapshot!(errors("a: ${!NAME}\n").join("\n"), @"f:1:4: a: `${!NAME}`: no such substitution; write `$NAME` or `$${…}` where the shell is meant");
    insta::assert_snapshot!(errors("a: ${}\n").join("\n"), @"f:1:4: a: `${}`: no such substitution; write `$NAME` or `$${…}` where the shell is meant");
    insta::assert_snapshot!(errors("a: ${UNSET:?needs a value}\n").join("\n"), @"f:1:4: a: UNSET is not set: needs a value");
    insta::assert_snapshot!(errors("a: ${DRONE_TAG//v/${DRONE_BRANCH}}\n").join("\n"), @"f:1:4: a: `${DRONE_TAG//v/${DRONE_BRANCH}}`: an expression can hold another only in its default; write `$NAME` or `$${…}` where the shell is meant");
    insta::assert_snapshot!(errors("a: ${DRONE_TAG:1:9223372036854775807}\n").join("\n"), @"f:1:4: a: `${DRONE_TAG:1:9223372036854775807}`: the number is too large; write `$NAME` or `$${…}` where the shell is meant");
    insta::assert_snapshot!(errors("a: |\n  echo ${X\n  }\n").join("\n"), @"f:2:3: a: `${` is not closed on its line; write `$${` where the shell is meant");
}

#[test]
fn nothing_is_wrong_with_an_open_expression_in_a_comment() {
    assert_eq!(errors("a: 1 # ${ and ${X:?y}\n"), Vec::<String>::new());
}

#[test]
fn a_name_that_is_none_of_the_builds_is_warned_about_once() {
    let (_, report) = resolve("a: &x ${VERSION}\nb: *x\nc: ${DRONE_DEPLOY_TO}${OTHER:-x}\n");
    let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @"f:1:7: a: VERSION is no variable of the build, so `${VERSION}` is empty; write `$NAME` or `$${…}` where the shell is meant");
}

#[test]
fn what_the_expressions_cost_is_bounded() {
    let mut variables = variables();
    variables.insert("DRONE_COMMIT_MESSAGE".into(), "a".repeat(100_000));
    for text in [
        "a: ${DRONE_COMMIT_MESSAGE//*b*c*d*e/}\n".to_owned(),
        format!(
            "a: &a ${{DRONE_COMMIT_MESSAGE}}\nb: [{}]\n",
            "*a, ".repeat(1000)
        ),
    ] {
        let masked = mask(&text).unwrap();
        let mut node = documents(&masked.text, Duplicates::Refuse)
            .unwrap()
            .remove(0);
        let mut report = Report::new("f");
        Substitution::new(&masked).resolve(&mut node, &variables, &mut report);
        assert_eq!(report.errors[0].message, Refused::Work.to_string());
    }
    assert_eq!(
        mask(&"${A}".repeat(MAX_EXPRESSIONS + 1)).unwrap_err(),
        TooMany
    );
}
