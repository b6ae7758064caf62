//! Reports of well-known tools, and their table.

use std::time::Duration;

use crate::report::{Case, Kind, Limits, Outcome, Report, Totals, read_from};

pub(super) fn junit(text: &str) -> (Report, Option<String>) {
    read_from(text.as_bytes(), Kind::Junit, &Limits::default())
}

pub(super) fn trx(text: &str) -> (Report, Option<String>) {
    read_from(text.as_bytes(), Kind::Trx, &Limits::default())
}

const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<j:testsuites xmlns:j="urn:junit" tests="99">
  <j:testsuite name="outer">
    <properties><property name="p" value="v"/></properties>
    <j:testcase classname="a.B" name="holds" time="1,001.25"/>
    <j:testsuite name="inner">
      <j:testcase classname="a.C" name="fails &lt;here&gt;" time="0.5">
        <failure message="expected &quot;1&quot;" type="AssertionError"><![CDATA[at a.C(<init>)]]> &amp; more &#33;</failure>
        <failure message="a second">ignored</failure>
        <system-out>noise</system-out>
      </j:testcase>
      <j:testcase name="errs"><error type="IOException">stack</error></j:testcase>
      <j:testcase name="skips" time="NaN"><skipped/></j:testcase>
      <j:testcase name="not run" status="notrun" time="-3"/>
      <j:testcase name="flaky"><flakyFailure message="once">x</flakyFailure></j:testcase>
    </j:testsuite>
  </j:testsuite>
</j:testsuites>"#;

#[test]
fn junit_suites_in_suites_are_counted_by_their_cases() {
    let (report, problem) = junit(JUNIT);
    assert_eq!(problem, None);
    assert_eq!(
        report.totals(),
        Totals {
            tests: 6,
            passed: 2,
            failed: 1,
            errors: 1,
            skipped: 2,
            duration: Duration::from_millis(1_001_750),
        }
    );
    let suites: Vec<_> = report
        .suites()
        .iter()
        .map(|(name, totals)| (name.as_str(), totals.tests))
        .collect();
    assert_eq!(suites, [("inner", 5), ("outer", 1)]);
    assert_eq!(
        report.failures(),
        [
            Case {
                suite: "inner".into(),
                class: "a.C".into(),
                name: "fails <here>".into(),
                outcome: Outcome::Failed,
                duration: Duration::from_millis(500),
                message: "expected \"1\"".into(),
                details: "at a.C(<init>) & more !".into(),
            },
            Case {
                suite: "inner".into(),
                class: String::new(),
                name: "errs".into(),
                outcome: Outcome::Error,
                duration: Duration::ZERO,
                message: "IOException".into(),
                details: "stack".into(),
            },
        ]
    );
}

#[test]
fn totals_are_outputs_under_the_incumbents_names() {
    let outputs = junit(JUNIT).0.totals().outputs();
    let expected = [
        ("total_tests", "6"),
        ("successful_tests", "2"),
        ("failed_tests", "2"),
        ("skipped_tests", "2"),
        ("duration_ms", "1001750"),
    ];
    assert_eq!(
        outputs,
        expected.map(|(key, value)| (key, value.to_owned()))
    );
}

const TRX: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<TestRun id="1" name="a run" xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010">
  <Times creation="2026-01-01"/>
  <Results>
    <UnitTestResult testId="t1" testName="Adds" outcome="Passed" duration="00:00:01.5000000" />
    <UnitTestResult testId="t2" testName="Fails" outcome="Failed" duration="1.01:00:02.25">
      <Output><StdOut>noise</StdOut>
        <ErrorInfo><Message>Expected 1 &amp; got 2</Message><StackTrace>at X.Fails()</StackTrace></ErrorInfo>
      </Output>
    </UnitTestResult>
    <UnitTestResult testId="t3" testName="Rows" outcome="Failed">
      <InnerResults>
        <UnitTestResult testId="t3" testName="Rows (1)" outcome="Passed"/>
        <UnitTestResult testId="t3" testName="Rows (2)" outcome="Failed">
          <Output><ErrorInfo><Message>row 2</Message></ErrorInfo></Output>
        </UnitTestResult>
      </InnerResults>
    </UnitTestResult>
    <UnitTestResult testId="t4" testName="Waits" outcome="NotExecuted"/>
    <UnitTestResult testId="unknown" testName="Late" outcome="Timeout" duration="no time"/>
  </Results>
  <TestDefinitions>
    <UnitTest id="t1" name="Adds" storage="/bin/x.dll"><TestMethod className="X.Adder, x" name="Adds"/></UnitTest>
    <UnitTest id="t2" name="Fails" storage="C:\bin\x.dll"><Execution id="e"/><TestMethod className="X.Adder" name="Fails"/></UnitTest>
    <UnitTest id="t3" name="Rows" storage="y.dll"><TestMethod className="Y" name="Rows"/></UnitTest>
    <UnitTest id="t9" name="Never run" storage="y.dll"><TestMethod className="Y" name="Never"/></UnitTest>
  </TestDefinitions>
</TestRun>"#;

#[test]
fn trx_keeps_messages_stacks_and_whole_durations() {
    let (report, problem) = trx(TRX);
    assert_eq!(problem, None);
    assert_eq!(
        report.totals(),
        Totals {
            tests: 6,
            passed: 2,
            failed: 3,
            errors: 0,
            skipped: 1,
            duration: Duration::from_millis(25 * 3_600_000 + 2_250 + 1_500),
        }
    );
    let failures: Vec<_> = report
        .failures()
        .iter()
        .map(|case| {
            (
                case.suite.as_str(),
                case.class.as_str(),
                case.name.as_str(),
                case.message.as_str(),
                case.details.as_str(),
            )
        })
        .collect();
    assert_eq!(
        failures,
        [
            (
                "x.dll",
                "X.Adder",
                "Fails",
                "Expected 1 & got 2",
                "at X.Fails()"
            ),
            ("y.dll", "Y", "Rows (2)", "row 2", ""),
            ("a run", "", "Late", "", ""),
        ]
    );
}

#[test]
fn trx_definitions_without_results_are_no_tests() {
    let text = r#"<TestRun><TestDefinitions><UnitTest id="a"><TestMethod className="A"/></UnitTest></TestDefinitions></TestRun>"#;
    let (report, problem) = trx(text);
    assert_eq!((report.totals().tests, problem), (0, None));
}

#[test]
fn c55_the_table_shows_suites_totals_and_failures() {
    let table = junit(JUNIT).0.table();
    for part in [
        "Suite",
        "inner",
        "outer",
        "All",
        "16m41s",
        "FAILED a.C.fails <here>: expected \"1\"",
        "ERROR errs: IOException",
    ] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    assert!(!table.contains("more"), "{table}");
    assert!(table.is_ascii() || table.contains('│'));
}
