//! A step's commands as one shell script, as Drone runs them: it ends at the
//! first command that fails, and shows each command before it runs.
//!
//! ```text
//! set -e
//! printf '+ %s\n' 'make test'
//! make test
//! ```
//!
//! Run it from a file, with `sh FILE`: on its standard input a command that
//! reads would eat the rest, and as an argument it has a limit and can be seen
//! by all. A command is put in as it is, so one that leaves a quote or a
//! here-document open takes in what follows, as in Drone.

use std::fmt::Write;

/// The script for a POSIX shell that runs `commands` in their order.
pub fn script(commands: &[String]) -> String {
    let mut script = String::from("set -e\n");
    for command in commands {
        let command = command.trim_matches(['\n', '\r', ' ', '\t']);
        if command.is_empty() {
            continue;
        }
        // Writing to a string can't fail.
        let _ = write!(script, "\nprintf '+ %s\\n' {}\n{command}\n", quote(command));
    }
    script
}

/// `text` as one word of the shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// What the script prints, and its exit code.
    fn run(commands: &[&str]) -> (String, i32) {
        let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
        let output = Command::new("sh")
            .args(["-c", &script(&commands)])
            .stdin(Stdio::null())
            .output()
            .expect("there is a shell");
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.status.code().unwrap_or(-1),
        )
    }

    #[test]
    fn each_command_is_shown_before_it_runs() {
        let (output, code) = run(&["echo one", "X=two", "echo \"$X\""]);
        assert_eq!(output, "+ echo one\none\n+ X=two\n+ echo \"$X\"\ntwo\n");
        assert_eq!(code, 0);
    }

    #[test]
    fn the_first_command_that_fails_ends_the_script_with_its_code() {
        let (output, code) = run(&["echo one", "(exit 7)", "echo two"]);
        assert_eq!(output, "+ echo one\none\n+ (exit 7)\n");
        assert_eq!(code, 7);
    }

    #[test]
    fn commands_share_one_shell() {
        let (output, _) = run(&["cd /", "f() { pwd; }", "f"]);
        assert!(output.ends_with("+ f\n/\n"), "{output}");
    }

    #[test]
    fn a_command_of_several_lines_is_one_command() {
        let (output, code) = run(&[
            "cat <<END\n$((1 + 1)) it's\nEND\n",
            "for i in 1 2; do\n  echo $i\ndone",
        ]);
        let expected = "+ cat <<END\n$((1 + 1)) it's\nEND\n2 it's\n\
            + for i in 1 2; do\n  echo $i\ndone\n1\n2\n";
        assert_eq!((output.as_str(), code), (expected, 0));
    }

    #[test]
    fn empty_commands_are_left_out() {
        assert_eq!(script(&[]), "set -e\n");
        assert_eq!(run(&["", " \n", "true"]), ("+ true\n".into(), 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is shown is the command, to the letter, whatever is in it.
        #[test]
        fn what_is_shown_is_the_command(text in "[ -~\n\té]{0,40}") {
            // A comment: shown and not run.
            let command = format!("# {}", text.replace('\n', "\n# "));
            let (output, code) = run(&[&command]);
            let expected = format!("+ {}\n", command.trim_matches(['\n', '\r', ' ', '\t']));
            prop_assert_eq!((output, code), (expected, 0));
        }
    }
}
