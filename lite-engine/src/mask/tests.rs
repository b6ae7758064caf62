//! P11: no part of a secret reaches the output, however the text is cut.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::patterns::Patterns;
use super::*;

fn masked(secrets: &[&str], chunks: &[&[u8]]) -> String {
    let mut masker = Masker::new(secrets).expect("few short secrets");
    let mut out = Vec::new();
    for chunk in chunks {
        masker.push(chunk, &mut out);
    }
    masker.finish(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_secret_is_replaced_and_the_rest_is_kept() {
    assert_eq!(
        masked(&["hunter2"], &[b"pass=hunter2;\n"]),
        "pass=******;\n"
    );
}

#[test]
fn p11_a_secret_fed_byte_by_byte_shows_no_part_of_itself() {
    let mut masker = Masker::new(["hunter2"]).expect("one secret");
    let mut out = Vec::new();
    for byte in b"hunter2" {
        assert!(
            out.is_empty(),
            "nothing may be shown before the secret is complete"
        );
        masker.push(&[*byte], &mut out);
    }
    assert_eq!(
        out, MASK,
        "a complete secret that cannot go on is decided at once"
    );
}

#[test]
fn text_that_only_begins_like_a_secret_is_shown_as_soon_as_it_differs_or_ends() {
    let mut masker = Masker::new(["hunter2"]).expect("one secret");
    let mut out = Vec::new();
    masker.push(b"a hunt", &mut out);
    assert_eq!(out, b"a ");
    masker.push(b"s", &mut out);
    assert_eq!(out, b"a hunts");
    masker.push(b" hunter", &mut out);
    masker.finish(&mut out);
    assert_eq!(out, b"a hunts hunter");
}

#[test]
fn the_longest_of_the_leftmost_secrets_wins_across_a_cut() {
    let secrets = ["abcd", "bc", "abc"];
    assert_eq!(masked(&secrets, &[b"ab", b"c", b"d!"]), "******!");
    assert_eq!(masked(&secrets, &[b"abc", b"x"]), "******x");
    assert_eq!(masked(&secrets, &[b"xbc", b"d"]), "x******d");
}

#[test]
fn a_shorter_secret_inside_an_unfinished_longer_one_waits() {
    let mut masker = Masker::new(["abcd", "bc"]).expect("two secrets");
    let mut out = Vec::new();
    masker.push(b"abc", &mut out);
    assert!(out.is_empty());
    masker.push(b"x", &mut out);
    assert_eq!(out, b"a******x");
}

#[test]
fn each_long_line_of_a_value_is_hidden_and_short_lines_are_not() {
    let key = "{\n  \"key\": \"s3cr3t\"\n}\n";
    assert_eq!(
        masked(&[key], &[b"{ \"key\": \"s3cr3t\"\n}"]),
        "{ ******\n}"
    );
    assert_eq!(masked(&[key], &[key.as_bytes()]), "******\n");
}

#[test]
fn empty_and_single_character_values_hide_nothing() {
    assert_eq!(
        masked(&["", " ", "\n", "x", " y "], &[b"x y z\n"]),
        "x y z\n"
    );
    assert_eq!(masked(&["42"], &[b"42"]), "******");
}

#[test]
fn bytes_that_are_not_utf8_pass_unchanged() {
    let mut masker = Masker::new(["secret"]).expect("one secret");
    let mut out = Vec::new();
    masker.push(b"\xff\xfe sec\xff secret\x00", &mut out);
    masker.finish(&mut out);
    assert_eq!(out, b"\xff\xfe sec\xff ******\x00");
}

#[test]
fn the_debug_form_shows_no_secret() {
    let mut masker = Masker::new(["hunter2"]).expect("one secret");
    masker.push(b"hunt", &mut Vec::new());
    assert!(!format!("{masker:?}").contains("hunt"));
}

#[test]
fn c40_the_incumbents_style_has_fourteen_stars_and_lines_of_two_characters() {
    let mut masker = Masker::styled(Style::Incumbent, ["s3cr3t", "multi\nli\nx", "y"])
        .expect("few short secrets");
    let mut out = Vec::new();
    masker.push(b"s3cr3t li x y multi\n", &mut out);
    masker.finish(&mut out);
    let stars = "*".repeat(14);
    assert_eq!(
        String::from_utf8_lossy(&out),
        format!("{stars} {stars} x y {stars}\n")
    );
}

#[test]
fn p11_a_value_is_hidden_as_json_urls_and_shells_spell_it() {
    let secret = "p&ss w<rd/\"it's\"\u{1}";
    let spelled = [
        r#"p&ss w<rd/\"it's\"\u0001"#,
        r#"p\u0026ss w\u003crd/\"it's\"\u0001"#,
        "p%26ss%20w%3Crd%2F%22it%27s%22%01",
        "p%26ss%20w%3crd%2f%22it%27s%22%01",
        "p%26ss+w%3Crd%2F%22it%27s%22%01",
        "p&ss w<rd/\"it'\\''s\"\u{1}",
    ];
    for text in spelled {
        assert_eq!(
            masked(&[secret], &[b"<", text.as_bytes(), b">"]),
            "<******>",
            "{text}"
        );
    }
}

#[test]
fn p11_strings_of_a_json_secret_are_hidden_however_it_is_printed() {
    let secret = "{\n  \"id\": \"short\",\n  \"keys\": [{\"private\": \"line one\\nline two\"}]\n}";
    assert_eq!(
        masked(
            &[secret],
            &[br#"{"id":"short","keys":[{"private":"line one\nline two"}]}"#]
        ),
        r#"{"id":"short","keys":[{"private":"******"}]}"#
    );
    assert_eq!(masked(&[secret], &[b"line one\nline two"]), "******");
}

#[test]
fn p11_wrapped_base64_of_a_long_value_shows_no_line_of_it() {
    let secret = "0123456789abcdef".repeat(20);
    let encoded = STANDARD.encode(&secret);
    for wrap in [64, 76] {
        let lines: Vec<_> = encoded.as_bytes().chunks(wrap).collect();
        let shown = masked(&[&secret], &[&lines.join(&b"\n"[..])]);
        for line in lines.iter().filter(|line| line.len() > 8) {
            let line = String::from_utf8_lossy(line);
            assert!(!shown.contains(&*line), "{wrap}: {shown}");
        }
    }
}

#[test]
fn p11_values_added_in_mid_stream_are_hidden_from_then_on() {
    let mut masker = Masker::new(["first secret"]).expect("one secret");
    let mut out = Vec::new();
    masker.push(b"later, first sec", &mut out);
    masker.add(["later", "secure"]).expect("two more");
    masker.push(b"ure later first secret lat", &mut out);
    masker.finish(&mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "later, first ****** ****** ****** lat"
    );
}

#[test]
fn expressions_hide_what_they_match_in_a_line_however_it_is_cut() {
    let expressions =
        Expressions::of_lines("ghp_[A-Za-z0-9]{4,}\n\n(?i)token=\\S+\n").expect("two");
    let text = b"a ghp_abcd1 TOKEN=xyz b\nghp_ab\nc token=\n";
    for size in 1..text.len() {
        let mut masker = Masker::new(["abcd1"])
            .expect("one secret")
            .and_expressions(&expressions);
        let mut out = Vec::new();
        for chunk in text.chunks(size) {
            masker.push(chunk, &mut out);
        }
        masker.finish(&mut out);
        // The value goes first; what the expression would match is then no longer there.
        assert_eq!(
            String::from_utf8_lossy(&out),
            "a ghp_****** ****** b\nghp_ab\nc token=\n"
        );
    }
}

#[test]
fn p13_an_expression_that_is_none_is_named_by_its_number() {
    let error = Expressions::new(["a", "(", "b"]).expect_err("refused");
    assert!(
        matches!(error, MaskError::Expression { number: 2, .. }),
        "{error:?}"
    );
    let large = Expressions::new(["(((a{900}){900}){900})"]).expect_err("refused");
    assert!(matches!(large, MaskError::Expression { .. }), "{large:?}");
    let many = Expressions::new(vec!["a"; 257]).expect_err("refused");
    assert!(matches!(many, MaskError::ManyExpressions { .. }));
    let nested = "(".repeat(10_000);
    assert!(Expressions::new([nested]).is_err());
}

#[test]
fn a_line_of_many_megabytes_is_not_held() {
    let expressions = Expressions::new(["secret[0-9]"]).expect("one");
    let mut lines = Lines::new(&expressions, b"***");
    let mut out = Vec::new();
    let mut shown = 0;
    for _ in 0..200 {
        lines.push(&vec![b'x'; 99_000], &mut out);
        lines.push(b"secret7", &mut out);
        shown += out.len();
        assert!(out.windows(7).all(|window| window != b"secret7"));
        out.clear();
    }
    lines.finish(&mut out);
    assert_eq!(shown + out.len(), 200 * (99_000 + 3));
}

#[test]
fn an_expression_that_matches_nothing_at_all_hides_nothing() {
    let expressions = Expressions::new(["x*"]).expect("one");
    let mut lines = Lines::new(&expressions, b"-");
    let mut out = Vec::new();
    lines.push(b"axxb\n", &mut out);
    assert_eq!(out, b"a-b\n");
}

/// The definition that the streaming masker must equal.
fn whole_text_masked(patterns: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let longest = patterns
            .iter()
            .filter(|p| text[at..].starts_with(p))
            .map(Vec::len)
            .max();
        if let Some(len) = longest {
            out.extend_from_slice(MASK);
            at += len;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A small alphabet makes overlaps, repeats and near misses common.
    #[test]
    fn p11_any_cut_of_any_text_gives_the_whole_text_masked(
        secrets in prop::collection::vec("[abc\n]{0,7}", 0..6),
        text in "[abcd\n]{0,80}",
        cuts in prop::collection::vec(1_usize..9, 0..40),
    ) {
        let patterns = Patterns::of(Style::Plain, &secrets);
        let mut masker = Masker::new(&secrets).expect("few short secrets");
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            masker.push(chunk, &mut out);
            prop_assert!(masker.values.held() < patterns.as_slice().iter().map(Vec::len).max().unwrap_or(1));
            rest = after;
        }
        masker.push(rest, &mut out);
        masker.finish(&mut out);
        prop_assert_eq!(&out, &whole_text_masked(patterns.as_slice(), text.as_bytes()));
        for pattern in patterns.as_slice() {
            prop_assert!(!out.windows(pattern.len()).any(|window| window == pattern.as_slice()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Of a longer text in base64 that has the secret in it, at most the
    /// characters that the secret shares with its neighbours stay.
    #[test]
    fn p11_a_secret_inside_base64_is_hidden_at_any_place(
        before in "[ -~]{0,9}",
        secret in "[!-~]{8,40}",
        after in "[ -~]{0,9}",
    ) {
        for encoded in [
            STANDARD.encode(format!("{before}{secret}{after}")),
            URL_SAFE_NO_PAD.encode(format!("{before}{secret}{after}")),
        ] {
            let shown = masked(&[&secret], &[encoded.as_bytes()]);
            let around = (before.len() + after.len()) * 4 / 3 + 10;
            prop_assert!(shown.contains("******"), "{} in {}", shown, encoded);
            prop_assert!(shown.len() <= around + 6, "{} in {}", shown, encoded);
        }
    }

    #[test]
    fn expressions_over_any_cut_give_what_each_line_gives_alone(
        text in "[ab1\n]{0,80}",
        cuts in prop::collection::vec(1_usize..9, 0..40),
    ) {
        let expressions = Expressions::new(["a+1", "b1a"]).expect("two");
        let mut lines = Lines::new(&expressions, b"*");
        let out = in_pieces(text.as_bytes(), &cuts, |piece, out| lines.push(piece, out));
        let mut out = out;
        lines.finish(&mut out);
        prop_assert_eq!(String::from_utf8_lossy(&out), lines_cleaned(&text));
    }

    #[test]
    fn a_line_longer_than_the_window_gives_the_same_however_it_is_cut(
        text in "[ab1\n]{0,120}",
        cuts in prop::collection::vec(1_usize..9, 0..40),
    ) {
        let expressions = Expressions::new(["a+1", "b1a"]).expect("two");
        let whole = {
            let mut lines = Lines::with_reach(&expressions, b"*", 8);
            let mut out = Vec::new();
            lines.push(text.as_bytes(), &mut out);
            lines.finish(&mut out);
            out
        };
        let mut lines = Lines::with_reach(&expressions, b"*", 8);
        let mut out = in_pieces(text.as_bytes(), &cuts, |piece, out| lines.push(piece, out));
        lines.finish(&mut out);
        prop_assert_eq!(out, whole);
    }
}

fn in_pieces(text: &[u8], cuts: &[usize], mut push: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    for &cut in cuts {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        push(piece, &mut out);
        rest = after;
    }
    push(rest, &mut out);
    out
}

/// What the expressions `a+1` and `b1a` leave of each line, by hand.
fn lines_cleaned(text: &str) -> String {
    let clean = |line: &str| {
        let mut out = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let run = rest.len() - rest.trim_start_matches('a').len();
            if run > 0 && rest[run..].starts_with('1') {
                out.push('*');
                rest = &rest[run + 1..];
            } else if let Some(after) = rest.strip_prefix("b1a") {
                out.push('*');
                rest = after;
            } else {
                out.push(first);
                rest = &rest[1..];
            }
        }
        out
    };
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}
