//! P11: no part of a secret reaches the output, however the text is cut.

use proptest::prelude::*;

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
        let patterns = Patterns::of(&secrets);
        let mut masker = Masker::new(&secrets).expect("few short secrets");
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            masker.push(chunk, &mut out);
            prop_assert!(masker.held.len() < patterns.as_slice().iter().map(Vec::len).max().unwrap_or(1));
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
