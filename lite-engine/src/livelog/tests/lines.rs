//! Lines, histories and files, without a service.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use crate::livelog::{Assembler, FileStore, History, LINE_MAX, Line, encode};

fn assembled(chunks: &[&[u8]]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut assembler = Assembler::default();
    for chunk in chunks {
        assembler.push(chunk, SystemTime::UNIX_EPOCH, |line| lines.push(line));
    }
    lines.extend(assembler.finish(SystemTime::UNIX_EPOCH));
    assert!(
        (0_u64..)
            .zip(&lines)
            .all(|(pos, line): (u64, &Line)| line.pos == pos)
    );
    assert_eq!(assembler.pos(), lines.len() as u64);
    lines.into_iter().map(|line| line.out).collect()
}

#[test]
fn c39_the_last_line_is_kept_without_a_newline() {
    assert_eq!(assembled(&[b"a\nta", b"il"]), ["a\n", "tail\n"]);
    assert_eq!(assembled(&[b"a\n\n"]), ["a\n", "\n"]);
    assert_eq!(assembled(&[]), [""; 0]);
}

#[test]
fn c42_a_line_of_80_kib_is_cut_and_the_next_is_whole() {
    let long = vec![b'x'; 80 * 1024];
    for chunks in [
        vec![&long[..], b"\nnext"],
        vec![&long[..LINE_MAX], &long[LINE_MAX..], b"\nnext"],
    ] {
        let lines = assembled(&chunks);
        let expected = format!("{}... (log line truncated)\n", "x".repeat(71_680));
        assert!(lines[0] == expected, "{}", lines[0].len());
        assert_eq!(lines[1], "next\n");
    }
    let whole = vec![b'x'; LINE_MAX];
    assert_eq!(assembled(&[&whole])[0].len(), LINE_MAX + 1);
}

#[test]
fn a_cut_goes_through_no_character() {
    for before in 0..4 {
        let long = "x".repeat(before) + &"€".repeat(40_000);
        let lines = assembled(&[long.as_bytes()]);
        assert!(!lines[0].contains('\u{fffd}'));
        assert!(lines[0].len() > LINE_MAX);
    }
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_one_line_and_little_memory() {
    let piece = vec![b'y'; 1024 * 1024];
    let mut lines = Vec::new();
    let mut assembler = Assembler::default();
    for _ in 0..100 {
        assembler.push(&piece, SystemTime::UNIX_EPOCH, |line| lines.push(line));
    }
    lines.extend(assembler.finish(SystemTime::UNIX_EPOCH));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].out.len() < LINE_MAX + 100);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_because_json_has_no_others() {
    assert_eq!(assembled(&[b"a\xffb\n"]), ["a\u{fffd}b\n"]);
}

#[test]
fn a_line_for_the_service_has_the_incumbents_fields_in_its_order() {
    let line = Line {
        pos: 7,
        out: "a \"b\"\n".into(),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
    };
    let text = |trim| String::from_utf8(encode::remote(&line, trim)).expect("JSON is UTF-8");
    assert_eq!(
        text(false),
        r#"{"level":"info","pos":7,"out":"a \"b\"\n","time":"2023-11-14T22:13:20.25Z","args":null}"#
    );
    assert!(text(true).contains(r#""out":"a \"b\"""#));
}

fn history(most: usize, lines: u64) -> Vec<serde_json::Value> {
    let mut history = History::with_most(most, false);
    for pos in 0..lines {
        let line = Line {
            pos,
            out: format!("line {pos}\n"),
            at: SystemTime::UNIX_EPOCH,
        };
        history.push(&line, Bytes::from(encode::remote(&line, false)));
    }
    let blob = history.blob();
    assert!(blob.len() <= most, "{} > {most}", blob.len());
    serde_json::Deserializer::from_slice(&blob)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("lines of JSON")
}

#[test]
fn c70_a_blob_has_the_newest_lines_and_says_what_gave_way() {
    assert_eq!(history(10_000, 20).len(), 20);
    let kept = history(10_000, 5_000);
    assert!(kept.len() > 80, "{}", kept.len());
    let cut = kept[0]["pos"].as_u64().expect("a number");
    assert_eq!(
        kept[0]["out"],
        format!("... ({} earlier log lines are not kept)\n", cut + 1)
    );
    for (line, pos) in kept[1..].iter().zip(cut + 1..) {
        assert_eq!(line["pos"], pos);
        assert_eq!(line["out"], format!("line {pos}\n"));
    }
    assert_eq!(kept[kept.len() - 1]["pos"], 4_999);
}

#[test]
fn c38_a_file_has_lines_of_json_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = FileStore::path(folder.path(), "a/b/k").expect("a key");
    let begun = SystemTime::UNIX_EPOCH;
    let mut file = FileStore::create(&path, begun).expect("created");
    let line = |pos, out: &str| Line {
        pos,
        out: out.into(),
        at: begun + Duration::from_millis(2_900),
    };
    file.append(&[line(0, "\u{1b}[33;1mExecuting\n"), line(1, "<b>\n")])
        .expect("written");
    file.append(&[line(2, "c\n")]).expect("written");
    assert_eq!(
        std::fs::read_to_string(&path).expect("read"),
        "{\"pos\":0,\"out\":\"\\u001b[33;1mExecuting\\n\",\"time\":2}\n\
         {\"pos\":1,\"out\":\"<b>\\n\",\"time\":2}\n{\"pos\":2,\"out\":\"c\\n\",\"time\":2}\n"
    );
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn p13_a_key_that_leaves_its_folder_is_refused() {
    let folder = std::path::Path::new("/logs");
    for key in ["", "..", "../x", "a/../../x", "/etc/passwd", "a\0b", "."] {
        assert!(FileStore::path(folder, key).is_err(), "{key:?}");
    }
    assert_eq!(
        FileStore::path(folder, "a/b").expect("a key"),
        folder.join("a/b")
    );
}

proptest! {
    #[test]
    fn any_cut_of_any_bytes_gives_the_same_lines(
        bytes in prop::collection::vec(prop::sample::select(b"ab\n\xff\xc3\xa9".to_vec()), 0..80),
        cut in 0_usize..80,
    ) {
        let (one, two) = bytes.split_at(cut.min(bytes.len()));
        let lines = assembled(&[one, two]);
        prop_assert_eq!(&lines, &assembled(&[&bytes]));
        let mut all = String::from_utf8_lossy(&bytes).into_owned();
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        prop_assert_eq!(lines.concat(), all);
    }
}
