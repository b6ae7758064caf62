//! P13: no report ends, stalls or fills the agent.

use std::io::Read;
use std::path::Path;

use proptest::prelude::*;

use super::reading::{junit, trx};
use crate::report::{Kind, Limits, read, read_from};

#[test]
fn p13_entities_of_a_file_stand_for_nothing() {
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
        <!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
        <testsuite name="&c;"><testcase name="&f;"><failure message="&c;">&c;&f;&amp;</failure></testcase></testsuite>"#;
    let (report, problem) = junit(bomb);
    assert_eq!(problem, None);
    let case = &report.failures()[0];
    assert_eq!((&*case.message, &*case.details), ("&c;", "&"));
    assert!(!report.table().contains("root:"));
}

#[test]
fn p13_a_file_that_breaks_off_keeps_its_whole_cases() {
    let whole = r#"<testsuite name="s"><testcase name="a"/><testcase name="b"><failure>x</failure></testcase></testsuite>"#;
    let mut most = 0;
    for end in 1..whole.len() {
        let (report, problem) = junit(&whole[..end]);
        assert!(problem.is_some(), "{end}");
        assert!(report.totals().tests >= most);
        most = report.totals().tests;
    }
    assert_eq!(most, 2);
}

#[test]
fn p13_elements_nested_too_deep_are_refused() {
    let deep = "<testsuite>".repeat(1_000_000);
    let (_, problem) = junit(&deep);
    assert_eq!(problem.as_deref(), Some("nests elements deeper than 200"));
    let inner = format!(
        "<TestRun><Results>{}",
        "<UnitTestResult><InnerResults>".repeat(100_000)
    );
    assert!(
        trx(&inner)
            .1
            .is_some_and(|problem| problem.contains("deeper"))
    );
}

#[test]
fn p13_another_documents_root_is_named_as_the_reason() {
    for text in ["<html><body/></html>", "<TestRun/>"] {
        let (_, problem) = junit(text);
        assert!(problem.is_some_and(|problem| problem.contains("first element")));
    }
    assert!(trx("<testsuite/>").1.is_some());
    assert_eq!(junit("").1, None, "an empty file has no tests");
    assert!(junit("not xml at all").0.totals().tests == 0);
}

#[test]
fn p13_texts_are_kept_by_their_last_8000_characters() {
    let long = format!("{}end", "é".repeat(100_000));
    let text = format!(
        r#"<testsuite name="{long}"><testcase name="{long}"><failure message="{long}">{long}</failure></testcase></testsuite>"#
    );
    let (report, problem) = junit(&text);
    assert_eq!(problem, None);
    let case = &report.failures()[0];
    for text in [&case.message, &case.details] {
        assert_eq!(text.chars().count(), 8_000);
        assert!(text.ends_with("end"));
    }
    assert!(case.name.chars().count() <= 300 && case.suite.chars().count() <= 300);
}

#[test]
fn p13_one_piece_that_is_too_large_ends_a_file_and_all_bytes_are_limited() {
    let limits = Limits {
        piece: 10_000,
        bytes: 100_000,
        ..Limits::default()
    };
    let begin = r#"<testsuite><testcase name="a"/><testcase name="b"><system-out>"#;
    let endless = begin.as_bytes().chain(std::io::repeat(b'x'));
    let (report, problem) = read_from(endless, Kind::Junit, &limits);
    assert_eq!(report.totals().tests, 1);
    assert!(problem.is_some_and(|problem| problem.contains("in one piece")));
    let many = format!("<testsuite>{}", r#"<testcase name="a"/>"#.repeat(10_000));
    let (report, problem) = read_from(many.as_bytes(), Kind::Junit, &limits);
    assert!((4_000..5_001).contains(&report.totals().tests));
    assert!(problem.is_some());
}

#[test]
fn p13_a_million_failures_are_counted_and_few_are_kept() {
    struct Endless {
        left: u32,
        rest: &'static [u8],
    }
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.rest.is_empty() && self.left > 0 {
                self.left -= 1;
                self.rest = br#"<testcase name="n"><failure message="m">d</failure></testcase>"#;
            }
            self.rest.read(into)
        }
    }
    let failures = 50_000;
    let text = b"<testsuite name=\"s\">"
        .chain(Endless {
            left: failures,
            rest: b"",
        })
        .chain(&b"</testsuite>"[..]);
    let (report, problem) = read_from(text, Kind::Junit, &Limits::default());
    assert_eq!(problem, None);
    assert_eq!(report.totals().failed, u64::from(failures));
    assert_eq!(report.failures().len(), 500);
    assert!(report.table().contains("… and 49980 more"));
}

#[test]
fn p13_a_table_obeys_no_terminal_sequence_of_a_report() {
    let text = "<testsuite name=\"\u{1b}[2Jx\"><testcase name=\"\u{1b}]0;y\u{7}\"><failure message=\"a&#27;[31m&#10;b\"/></testcase></testsuite>";
    let table = junit(text).0.table();
    assert!(
        !table.contains('\u{1b}') && !table.contains('\u{7}'),
        "{table:?}"
    );
}

#[test]
fn p13_a_link_a_folder_and_a_fifo_are_not_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("real"), "<testsuite><testcase name='a'/></testsuite>").expect("written");
    std::os::unix::fs::symlink(at("real"), at("link.xml")).expect("linked");
    std::fs::create_dir(at("folder.xml")).expect("made");
    nix::unistd::mkfifo(&at("fifo.xml"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let report = read(
        &["*.xml", "link.xml", "fifo.xml"],
        folder.path(),
        None,
        Kind::Junit,
        &Limits::default(),
    );
    assert_eq!((report.files(), report.totals().tests), (0, 0));
}

#[test]
fn p13_one_bad_file_harms_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("a.xml", b"<testsuite><testcase name='a'/>");
    write("b.xml", b"\xff\xfe<\0t\0");
    write("c.xml", b"<testsuite><testcase name='c'/></testsuite>");
    let report = read(
        &["*.xml", "["],
        folder.path(),
        None,
        Kind::Junit,
        &Limits::default(),
    );
    assert_eq!((report.files(), report.totals().tests), (3, 2));
    assert_eq!(report.problems().len(), 3, "{:?}", report.problems());
    let named = |name: &str| {
        report
            .problems()
            .iter()
            .any(|problem| problem.file.ends_with(Path::new(name)))
    };
    assert!(named("a.xml") && named("b.xml") && named("["));
}

proptest! {
    #[test]
    fn p13_any_document_is_read_or_refused(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<testsuite name='s'>", "</testsuite>", "<testcase name=\"n\" time=\"1\">",
                "</testcase>", "<testcase/>", "<failure>", "</failure>", "<TestRun>", "</TestRun>",
                "<Results>", "</Results>", "<UnitTestResult testId='i' outcome='Failed'>",
                "</UnitTestResult>", "<InnerResults>", "</InnerResults>", "<Message>", "</Message>",
                "<UnitTest id='i'>", "<TestMethod className='c'/>", "</UnitTest>", "text", "&amp;",
                "&x;", "&#0;", "<![CDATA[", "]]>", "<!--", "-->", "<!DOCTYPE", ">", "<", "=", "'",
            ]),
            0..40,
        ),
    ) {
        let text = parts.concat();
        for report in [junit(&text).0, trx(&text).0] {
            let _ = report.table();
        }
    }
}
