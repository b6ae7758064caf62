//! Steps' output: none of it is lost, and no secret is in it.

use nix::sys::resource::{UsageWho, getrusage};

use crate::support::{Project, processes_with, wait_for};

#[test]
fn p11_a_secret_printed_byte_by_byte_is_not_shown() {
    let project = Project::with_steps(
        "- name: leak\n  environment: {TOKEN: {from_secret: token}}\n  commands:\n\
         \x20 - python3 -u -c 'import os; [os.write(1, bytes([b])) for b in (os.environ[\"TOKEN\"] + \"\\n\").encode()]'\n\
         \x20 - echo \"at once $TOKEN here\"\n\
         \x20 - echo \"whole $TOKEN\" >&2\n",
    );
    project.write(
        "secrets.env",
        "token='hunter2-correct-horse'\nunused='another-value'\n",
    );
    for arguments in [
        &["--secret-file", "secrets.env"][..],
        &["--secret-file", "secrets.env", "--json"],
    ] {
        let ran = project.exec(arguments).ended_with(0).says("at once ");
        for part in [
            "hunter2-correct-horse",
            "hunter2",
            "correct",
            "horse",
            "unter",
            "orrec",
        ] {
            assert!(!ran.out.contains(part), "{part} in {ran}");
        }
    }
}

#[test]
fn p11_a_secret_of_the_file_is_masked_even_where_no_step_has_it_by_name() {
    let project = Project::with_steps("- name: leak\n  commands: [cat secrets.env]\n");
    project.write("secrets.env", "token=hunter2-correct-horse\n");
    project
        .exec(&["--secret-file", "secrets.env"])
        .ended_with(0)
        .does_not_say("hunter2");
}

#[test]
fn p11_no_secret_is_in_a_command_line() {
    let sleep = format!("76543.{}", std::process::id());
    let project = Project::with_steps(&format!(
        "- name: wait\n  environment: {{TOKEN: {{from_secret: token}}}}\n  commands: ['sleep {sleep}']\n"
    ));
    project.write("secrets.env", "token=hunter2-correct-horse\n");
    let mut run = project.start(&["--secret-file", "secrets.env"]);
    run.wait_for_output("+ sleep");
    wait_for("the step", || {
        (!processes_with(&sleep).is_empty()).then_some(())
    });
    let lines = project.processes();
    assert!(lines.len() > 2, "{lines:?}");
    assert!(
        lines.iter().all(|(_, line)| !line.contains("hunter2")),
        "{lines:?}"
    );
    run.signal(nix::sys::signal::Signal::SIGINT);
    run.end().ended_with(130);
}

#[test]
fn p11_a_secret_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let project = Project::with_steps("- name: a\n  commands: [echo A]\n");
    project.write("secrets.env", "token=hunter2\n");
    let path = project.path().join("secrets.env");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    project
        .exec(&["--secret-file", "secrets.env"])
        .ended_with(0)
        .complains(
            "warning: secrets.env can be read by others (mode 644); `chmod 600 secrets.env`",
        );
}

#[test]
fn many_lines_all_arrive() {
    let project = Project::with_steps("- name: count\n  commands: [seq 1 100000]\n");
    let log = project.exec(&[]).ended_with(0).log_of("count");
    let expected: String = std::iter::once("+ seq 1 100000\n".to_owned())
        .chain((1..=100_000).map(|n| format!("{n}\n")))
        .collect();
    assert!(
        log == expected,
        "{} bytes instead of {}",
        log.len(),
        expected.len()
    );
}

#[test]
fn a_line_of_ten_megabytes_arrives_whole_and_takes_little_memory() {
    let project = Project::with_steps(
        "- name: long\n  commands: ['head -c 10000000 /dev/zero | tr \"\\0\" x; echo']\n",
    );
    let log = project.exec(&[]).ended_with(0).log_of("long");
    let line = log.lines().nth(1).expect("a line after the command's");
    assert!(
        line.len() == 10_000_000 && line.bytes().all(|byte| byte == b'x'),
        "{}",
        line.len()
    );
    // The most that any command of these tests took.
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN)
        .expect("usage")
        .max_rss();
    assert!(kilobytes < 100_000, "{kilobytes} kB");
}

#[test]
fn progress_bars_come_on_lines_of_their_own_and_open_lines_are_closed() {
    let project = Project::with_steps(
        "- name: bar\n  commands: [\"printf '10%%\\\\r90%%\\\\rdone'\"]\n- name: next\n  commands: [echo next]\n",
    );
    let ran = project.exec(&[]).ended_with(0);
    assert!(
        ran.out
            .contains("bar   | 10%\nbar   | 90%\nbar   | done\nbar: succeeded"),
        "{ran}"
    );
}

#[test]
fn a_step_that_reads_its_input_reads_nothing() {
    let project = Project::with_steps("- name: read\n  commands: [cat, echo over]\n");
    assert_eq!(
        project.exec(&[]).ended_with(0).log_of("read"),
        "+ cat\n+ echo over\nover\n"
    );
}
