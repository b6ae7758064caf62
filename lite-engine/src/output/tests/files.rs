//! Files of both dialects, and files of neither.

use proptest::prelude::*;

use crate::output::{Dialect, OutputError, parse};

fn lines(text: &str) -> Vec<(String, String)> {
    parse(text.as_bytes(), Dialect::Lines).expect("a file of lines")
}

fn statements(text: &str) -> Vec<(String, String)> {
    parse(text.as_bytes(), Dialect::Statements).expect("a file of statements")
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

#[test]
fn both_dialects_read_plain_lines_alike() {
    let text = "# a comment\nA=1\n\n  export B = two words \r\nC: 3\nD=\nE='x # y'\nF=\"a\\nb\"\nA=9\nG=$HOME";
    let expected = pairs(&[
        ("A", "9"),
        ("B", "two words"),
        ("C", "3"),
        ("D", ""),
        ("E", "x # y"),
        ("F", "a\nb"),
        ("G", "$HOME"),
    ]);
    assert_eq!(lines(text), expected);
    assert_eq!(statements(text), expected);
}

#[test]
fn a_hash_begins_a_comment_in_lines_and_only_after_a_space_in_statements() {
    assert_eq!(lines("A=x#y\nB=x # y"), pairs(&[("A", "x"), ("B", "x")]));
    assert_eq!(
        statements("A=x#y\nB=x # y"),
        pairs(&[("A", "x#y"), ("B", "x")])
    );
}

#[test]
fn a_value_in_quotes_goes_over_several_lines_exactly_as_it_is() {
    let key = "-----BEGIN KEY-----\n  a#b c=d\n---\n-----END KEY-----\n";
    assert_eq!(
        statements(&format!("A=\"{key}\"\nB='{key}' # said\nC=1")),
        pairs(&[("A", key), ("B", key), ("C", "1")])
    );
}

#[test]
fn a_quote_after_a_backslash_ends_no_value() {
    assert_eq!(
        statements(r#"A="say \"hi\"""#),
        pairs(&[("A", r#"say "hi""#)])
    );
}

#[test]
fn a_file_that_is_not_of_statements_is_read_by_lines() {
    assert_eq!(
        statements("my-key=1\nB=\"open\nC=2"),
        pairs(&[("my-key", "1"), ("B", "\"open"), ("C", "2")])
    );
}

#[test]
fn base64_values_are_decoded_in_both_dialects() {
    let expected = pairs(&[("K", "hi\nthere"), ("E", "")]);
    assert_eq!(lines("K=__B64__aGkKdGhlcmU=\nE=__B64__"), expected);
    assert_eq!(statements("K=__B64__aGkKdGhlcmU=\nE=__B64__"), expected);
}

#[test]
fn p13_what_can_not_be_read_is_named_by_line_or_key_and_never_shown() {
    let read = |text: &str| parse(text.as_bytes(), Dialect::Lines).expect_err("refused");
    assert_eq!(read("A=1\n\nhunter2"), OutputError::NoValue { line: 3 });
    assert_eq!(
        read("S=__B64__hunter2!"),
        OutputError::Base64 { key: "S".into() }
    );
    assert!(!read("S=__B64__hunter2!").to_string().contains("hunter2"));
}

#[test]
fn a_line_of_64_kib_is_read_and_a_longer_one_refused_in_the_incumbents_words() {
    let line = |bytes: usize| format!("A={}", "x".repeat(bytes - 2));
    assert_eq!(lines(&line(65536)).len(), 1);
    let error = parse(line(65537).as_bytes(), Dialect::Lines).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "output variable length is more than 65536 bytes"
    );
    assert_eq!(statements(&line(200_000))[0].1.len(), 199_998);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let read = parse(b"\xef\xbb\xbfA=\xff\nB=2", Dialect::Lines).expect("read");
    assert_eq!(read, pairs(&[("A", "\u{fffd}"), ("B", "2")]));
}

#[test]
fn many_keys_quotes_and_hashes_are_read_in_linear_time() {
    let many: Vec<_> = (0..200_000).map(|n| format!("K{n}=#\"'\n")).collect();
    assert_eq!(lines(&many.concat()).len(), 200_000);
    let quotes = format!("A=\"{}", "\\\"".repeat(500_000));
    assert!(parse(quotes.as_bytes(), Dialect::Statements).is_err());
    let open = "A='\n".repeat(100_001);
    let _ = parse(open.as_bytes(), Dialect::Statements);
}

proptest! {
    #[test]
    fn p13_any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(prop::sample::select(b"AB=:#'\"\\\n\r -_$\xff".to_vec()), 0..60),
    ) {
        let _ = parse(&bytes, Dialect::Lines);
        let _ = parse(&bytes, Dialect::Statements);
    }

    #[test]
    fn a_value_without_a_line_end_comes_back_from_single_quotes(value in "[^'\\\\\r\n]{0,40}") {
        let text = format!("A='{value}'");
        prop_assert_eq!(statements(&text), pairs(&[("A", &value)]));
    }
}
