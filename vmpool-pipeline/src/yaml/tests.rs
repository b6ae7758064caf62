//! Scalars as written, places, and files that are broken or hostile.

use super::*;

fn read(text: &str) -> Vec<Node> {
    documents(text, Duplicates::Refuse).unwrap()
}

fn refusal(text: &str) -> String {
    let unreadable = documents(text, Duplicates::Refuse).unwrap_err();
    format!("{}: {}", unreadable.place, unreadable.message)
}

fn get<'n>(node: &'n Node, key: &str) -> &'n Node {
    let Value::Map(entries) = &node.value else {
        panic!("no map: {node:?}")
    };
    &entries
        .iter()
        .find(|entry| entry.key == key)
        .expect("the key is there")
        .value
}

#[test]
fn scalars_keep_their_text_and_get_a_kind() {
    for (written, kind) in [
        ("on", ScalarKind::Text),
        ("yes", ScalarKind::Text),
        ("NO", ScalarKind::Text),
        ("true", ScalarKind::Bool),
        ("False", ScalarKind::Bool),
        ("386", ScalarKind::Number),
        ("1.10", ScalarKind::Number),
        ("0x1f", ScalarKind::Number),
        ("0755", ScalarKind::Number),
        ("-3", ScalarKind::Number),
        ("1e999", ScalarKind::Number),
        (".NaN", ScalarKind::Number),
        ("123456789012345678901234567890", ScalarKind::Number),
        ("1_000", ScalarKind::Number),
        ("10m", ScalarKind::Text),
        ("2020-01-01", ScalarKind::Text),
    ] {
        let text = format!("é: ü\nkey: {written} # as it is\n");
        let documents = read(&text);
        let value = get(&documents[0], "key");
        assert_eq!(
            value.value,
            Value::Scalar(kind, written.into()),
            "{written}"
        );
        assert_eq!(value.place, Place { line: 2, column: 6 });
    }
    let tagged = read("a: !!int \"7\"\nb: !!str 7\nc: '7'\nd: !mine x\n");
    assert_eq!(
        get(&tagged[0], "a").value,
        Value::Scalar(ScalarKind::Number, "7".into())
    );
    for key in ["b", "c"] {
        assert_eq!(
            get(&tagged[0], key).value,
            Value::Scalar(ScalarKind::Text, "7".into())
        );
    }
    assert_eq!(
        get(&tagged[0], "d").value,
        Value::Scalar(ScalarKind::Text, "x".into())
    );
}

#[test]
fn keys_may_look_like_anything() {
    let documents = read("on: 1\n386: 2\ntrue: 3\n'': 4\n");
    for (key, value) in [("on", "1"), ("386", "2"), ("true", "3"), ("", "4")] {
        assert_eq!(
            get(&documents[0], key).value,
            Value::Scalar(ScalarKind::Number, value.into())
        );
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded_and_keep_their_place() {
    let documents =
        read("base: &b {image: alpine, pull: always}\nstep:\n  <<: *b\n  pull: never\n");
    let step = get(&documents[0], "step");
    assert_eq!(
        get(step, "pull").value,
        Value::Scalar(ScalarKind::Text, "never".into())
    );
    let image = get(step, "image");
    assert_eq!(
        image.value,
        Value::Scalar(ScalarKind::Text, "alpine".into())
    );
    assert_eq!(
        image.place,
        Place {
            line: 1,
            column: 18
        }
    );
}

#[test]
fn several_documents_are_read_and_empty_ones_left_out() {
    assert_eq!(read("---\na: 1\n---\n---\nb: 2\n...\n").len(), 2);
    assert_eq!(read("").len(), 0);
    assert_eq!(read("# only a comment\n").len(), 0);
}

#[test]
fn a_broken_file_is_refused_with_its_place() {
    insta::assert_snapshot!(refusal("a: [1, 2\nb: 3\n"), @"2:2: illegal placement of ':' indicator");
    insta::assert_snapshot!(refusal("a: 1\na: 2\n"), @"2:1: the key `a` is there twice");
    insta::assert_snapshot!(refusal("a: *x\n"), @"1:4: the alias names no anchor that stands before it");
    insta::assert_snapshot!(refusal("a: &x [*x]\n"), @"1:8: the anchor contains itself");
    insta::assert_snapshot!(refusal("a: b: c\n"), @"1:5: mapping values are not allowed in this context");
    insta::assert_snapshot!(refusal("a: \"abc\n"), @"2:1: invalid indentation in multiline quoted scalar");
    insta::assert_snapshot!(refusal("? [a, b]\n: c\n"), @"1:3: a key must be a string; a value that begins with { or [ must be quoted");
    insta::assert_snapshot!(refusal("a: {{ b }}\n"), @"1:5: a key must be a string; a value that begins with { or [ must be quoted");
    insta::assert_snapshot!(refusal("~: c\n"), @"1:1: a key can't be empty");
    insta::assert_snapshot!(refusal("<<: c\n"), @"1:5: `<<` takes a map or a list of maps, usually an alias");
    insta::assert_snapshot!(refusal("a: @x\n"), @"1:4: unexpected character: `@'");
    insta::assert_snapshot!(refusal("a: !!int x\n"), @"1:10: the value is not what its tag says");
    insta::assert_snapshot!(refusal("a:\n\tb: 1\n"), @"2:2: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(refusal("\u{1}: a\n"), @r#"1:1: unexpected character: `\u{1}'"#);
}

#[test]
fn what_nests_up_to_the_limit_is_read() {
    let deepest = |depth| format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    read(&deepest(MAX_DEPTH - 1));
    insta::assert_snapshot!(refusal(&deepest(MAX_DEPTH)), @"1:35: the file is too large or nests too deep, its aliases included");
}

#[test]
fn hostile_files_end_with_an_error_and_soon() {
    let deep_flow = format!("a: {}{}", "[".repeat(40_000), "]".repeat(40_000));
    let nested = |n| format!("{}a:\n", " ".repeat(n));
    let deep_block = (0..2_000).map(nested).collect::<Vec<_>>().concat();
    let ten = |n| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(10));
    let laughs = "a0: &a0 x\n".to_owned() + &(1..15).map(ten).collect::<Vec<_>>().concat();
    let long = format!(
        "a: &a \"\\u0078{}\"\nb: [{}]\n",
        "y".repeat(500_000),
        "*a, ".repeat(50_000)
    );
    let merges = format!("a: &a {{b: 1}}\nc:\n{}", "- <<: [*a, *a]\n".repeat(30_000));
    for text in [deep_flow, deep_block, laughs, long, merges] {
        assert!(text.len() < 2 * MAX_BYTES + 100_000);
        documents(&text, Duplicates::Refuse).unwrap_err();
    }
}

#[test]
fn the_last_of_two_equal_keys_can_win() {
    let documents = documents("a: 1\nb: 0\na: 2\n", Duplicates::LastWins).unwrap();
    assert_eq!(
        get(&documents[0], "a").value,
        Value::Scalar(ScalarKind::Number, "2".into())
    );
}
