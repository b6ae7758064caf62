//! On a terminal, by `script(1)`: the live view, and Ctrl-C as it is typed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Project, processes_with, wait_for};

/// `vmpool exec` on a terminal of 30 rows and 100 columns.
fn on_terminal(project: &Project, options: &str) -> Command {
    let line = format!(
        "stty rows 30 cols 100; exec {} exec {options}",
        env!("CARGO_BIN_EXE_vmpool")
    );
    let mut command = Command::new("script");
    command
        .args([
            "--quiet",
            "--return",
            "--flush",
            "--command",
            &line,
            "/dev/null",
        ])
        .current_dir(project.path())
        .env("TMPDIR", project.tmp())
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh");
    command
}

/// The screen's text without what only moves the cursor or colours.
fn text(screen: &str) -> String {
    let mut text = String::new();
    let mut rest = screen;
    while let Some(at) = rest.find("\u{1b}[") {
        text.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence
            .find(|c: char| ('@'..='~').contains(&c))
            .expect("a whole sequence");
        rest = &sequence[end + 1..];
    }
    text.push_str(rest);
    text.replace("\r\n", "\n")
}

#[test]
fn the_live_view_shows_each_step_with_its_state_and_its_lines() {
    let project = Project::with_steps(
        "- name: greet\n  commands: [echo Hello, sleep 0.3]\n\
         - name: bar\n  commands: [\"printf '10%%\\\\r'; sleep 0.2; printf '90%%\\\\r'; sleep 0.2; echo done\"]\n\
         - name: fail\n  commands: ['exit 7']\n- name: after\n  commands: [echo after]\n",
    );
    let mut command = on_terminal(&project, "");
    let ran = crate::support::Running::start({
        command.stdin(Stdio::null());
        command
    })
    .end()
    .ended_with(1);
    assert!(ran.out.contains("\u{1b}["), "it is drawn: {ran}");
    let text = text(&ran.out);
    for part in [
        "warming the pool",
        "· greet",
        "greet │ + echo Hello\n",
        "greet │ Hello\n",
        "✓ greet",
        "bar   │ done\n",
        "✗ fail",
        "failed: exit code 7",
        "- after",
        "STEP",
        "test: failed on machine local-",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(
        !text.contains("bar   │ 10%"),
        "what is written over stays in its line: {text}"
    );
    // What was drawn is cleared before the summary, which comes last and once.
    let summary = text.find("STEP").expect("a summary");
    assert!(!text[summary..].contains("✓ greet"), "{text}");
    project.wait_until_nothing_is_left();
}

#[test]
fn the_live_view_works_where_there_are_more_steps_than_rows() {
    let steps: Vec<_> = (0..60)
        .map(|n| format!("- name: step-{n}\n  commands: [echo line {n}]\n"))
        .collect();
    let project = Project::with_steps(&steps.concat());
    let mut command = on_terminal(&project, "");
    command.stdin(Stdio::null());
    let ran = crate::support::Running::start(command).end().ended_with(0);
    let text = text(&ran.out);
    for n in 0..60 {
        assert!(
            text.contains(&format!("│ line {n}\n")),
            "line {n} in {text}"
        );
    }
    project.wait_until_nothing_is_left();
}

#[test]
fn plain_lines_can_be_had_on_a_terminal_too() {
    let project = Project::with_steps("- name: greet\n  commands: [echo Hello]\n");
    let mut command = on_terminal(&project, "--plain");
    command.stdin(Stdio::null());
    let ran = crate::support::Running::start(command).end().ended_with(0);
    assert!(
        !ran.out.contains('\u{1b}') && ran.out.contains("greet | Hello"),
        "{ran}"
    );
    project.wait_until_nothing_is_left();
}

#[test]
fn a_step_can_not_write_to_the_terminal_past_the_view() {
    let project = Project::with_steps(
        "- name: evil\n  commands: [\"printf '\\\\033[2Jclear\\\\033]0;title\\\\007 \\\\033[31mred\\\\n'\"]\n",
    );
    let mut command = on_terminal(&project, "");
    command.stdin(Stdio::null());
    let ran = crate::support::Running::start(command).end().ended_with(0);
    assert!(
        !ran.out.contains("\u{1b}[2Jclear") && !ran.out.contains("title\u{7}"),
        "{ran}"
    );
    assert!(ran.out.contains("\u{1b}[31mred"), "{ran}");
    project.wait_until_nothing_is_left();
}

#[test]
fn ctrl_c_cancels_and_a_second_one_stops_at_once() {
    for (typed, is_second) in [(&b"\x03"[..], false), (&b"\x03\x03"[..], true)] {
        let sleep = format!("54321.{}{}", std::process::id(), u8::from(is_second));
        let project =
            Project::with_steps(&format!("- name: wait\n  commands: ['sleep {sleep}']\n"));
        let mut command = on_terminal(&project, "");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("start script");
        let mut keyboard = child.stdin.take().expect("it is piped");
        wait_for("the step", || {
            (!processes_with(&sleep).is_empty()).then_some(())
        });
        keyboard.write_all(typed).expect("type");
        let status = wait_for("the end", || child.try_wait().expect("look"));
        assert_eq!(status.code(), Some(130));
        wait_for("the end of the sleep", || {
            processes_with(&sleep).is_empty().then_some(())
        });
        project.wait_until_nothing_is_left();
    }
}
