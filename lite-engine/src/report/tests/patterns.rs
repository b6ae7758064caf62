//! Patterns and the files they name.

use std::path::Path;

use crate::report::{Limits, expand};

fn names(patterns: &[&str], limits: &Limits) -> (Vec<String>, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in [
        "r/a.xml",
        "r/b.xml",
        "r/deep/er/c.xml",
        "top.xml",
        "r/d.txt",
        "home/h.xml",
        ".hid/e.xml",
    ] {
        let path = folder.path().join("work").join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "").expect("written");
    }
    let work = folder.path().join("work");
    let patterns: Vec<String> = patterns
        .iter()
        .map(|pattern| pattern.replace("ROOT", &folder.path().to_string_lossy()))
        .collect();
    let found = expand(&patterns, &work, Some(&work.join("home")), limits);
    let name = |path: &Path| {
        path.strip_prefix(&work)
            .map_or_else(|_| path.to_string_lossy(), Path::to_string_lossy)
            .into_owned()
    };
    let names = found.files.iter().map(|path| name(path)).collect();
    (names, found.problems.len())
}

#[test]
fn patterns_are_relative_to_the_working_folder_the_home_or_nothing() {
    let all = |patterns: &[&str]| names(patterns, &Limits::default()).0;
    assert_eq!(all(&["r/*.xml"]), ["r/a.xml", "r/b.xml"]);
    assert_eq!(all(&["./r/a.xml", "r/a.xml"]), ["r/a.xml"]);
    assert_eq!(
        all(&["**/*.xml"]),
        [
            ".hid/e.xml",
            "home/h.xml",
            "r/a.xml",
            "r/b.xml",
            "r/deep/er/c.xml",
            "top.xml"
        ]
    );
    assert_eq!(all(&["r/**/c.xml"]), ["r/deep/er/c.xml"]);
    assert_eq!(all(&["~/*.xml"]), ["home/h.xml"]);
    assert_eq!(all(&["ROOT/work/r/[ab].xml"]), ["r/a.xml", "r/b.xml"]);
    assert_eq!(all(&["r/{a,d}.*"]), ["r/a.xml", "r/d.txt"]);
    assert_eq!(all(&["nowhere/*.xml", "", "  "]), [""; 0]);
    assert_eq!(all(&["r", "r/"]), [""; 0], "a folder is no report");
}

#[test]
fn p13_walks_end_at_their_limits_and_say_so() {
    let few_entries = Limits {
        entries: 3,
        ..Limits::default()
    };
    assert_eq!(names(&["**/*.xml"], &few_entries).1, 1);
    let few_files = Limits {
        files: 2,
        ..Limits::default()
    };
    let (files, problems) = names(&["**/*.xml"], &few_files);
    assert_eq!((files.len(), problems), (2, 1));
}
