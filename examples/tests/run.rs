//! Every example runs to its end and says what its page says.

use std::path::PathBuf;
use std::process::Command;

fn run(example: &str) -> String {
    let here = std::env::current_exe().expect("a test knows its own file");
    let profile = here
        .ancestors()
        .nth(2)
        .map(PathBuf::from)
        .expect("…/deps/run-hash");
    let file = profile.join("examples").join(example);
    let output = Command::new(&file).output().unwrap_or_else(|error| {
        panic!(
            "start {}: {error}; `cargo test` builds the examples",
            file.display()
        )
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{example}: {}\n{text}\n{errors}",
        output.status
    );
    text
}

#[test]
fn embed_prints_its_step_s_output_and_result() {
    let text = run("embed");
    assert!(text.contains("hello from /"), "{text}");
    assert!(text.contains("Exited { code: 0 }"), "{text}");
}

#[test]
fn the_readme_shows_the_example() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(here.join(file)).expect("it is there");
    let (readme, example) = (read("../README.md"), read("embed.rs"));
    let shown = readme
        .split_once("```rust\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the README has a block of Rust")
        .0;
    let indented = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    };
    let shown: String = shown.lines().map(indented).collect();
    assert!(
        example.contains(&shown),
        "embed.rs has no such lines:\n{shown}"
    );
}

#[test]
fn a_provider_of_one_s_own_gives_each_build_a_machine_of_its_own() {
    let text = run("provider");
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" has rack-"))
            .count(),
        5,
        "{text}"
    );
}

#[test]
fn an_executor_of_one_s_own_runs_a_step_once() {
    assert_eq!(run("executor"), "hello from a child\n");
}

#[test]
fn events_tell_a_machine_s_life() {
    let text = run("events");
    assert!(
        text.contains("is claimed by build-1: a stage asked for it"),
        "{text}"
    );
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.contains("is gone")),
        "{text}"
    );
}
