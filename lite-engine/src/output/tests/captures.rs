//! Captures run by the shells and interpreters of this machine.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::output::{Dialect, Wanted, capture, parse};

const SHELLS: [&str; 2] = ["sh", "bash"];

const WANTED: [Wanted<'static>; 3] = [
    Wanted {
        key: "A",
        variable: "A",
    },
    Wanted {
        key: "it's \"B\"",
        variable: "B",
    },
    Wanted {
        key: "NONE",
        variable: "not-a-name; exit 9",
    },
];

/// The exit status of the command with its captures, and what it left; minus the signal that ended it.
fn ran(program: &[&str], command: &str, encoded: bool) -> (i32, Vec<(String, String)>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("out put.env");
    let entrypoint: Vec<String> = program.iter().map(|&word| word.into()).collect();
    let text = capture(&entrypoint, command, &WANTED, encoded);
    let status = Command::new(program[0])
        .args(&program[1..])
        .arg(&text)
        .env("DRONE_OUTPUT", &file)
        .status()
        .unwrap_or_else(|error| panic!("this test needs {}: {error}", program[0]));
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| -signal))
        .expect("it ended");
    let left = std::fs::read(&file).unwrap_or_default();
    let dialect = if encoded {
        Dialect::Statements
    } else {
        Dialect::Lines
    };
    (code, parse(&left, dialect).expect("readable outputs"))
}

fn outputs(a: &str, b: &str) -> Vec<(String, String)> {
    vec![
        ("A".into(), a.into()),
        ("it's \"B\"".into(), b.into()),
        ("NONE".into(), String::new()),
    ]
}

#[test]
fn c43_a_shell_variable_becomes_an_output_exported_or_not() {
    for shell in SHELLS {
        for encoded in [false, true] {
            let done = ran(&[shell, "-c"], "export A=1\nB='x y'", encoded);
            assert_eq!(done, (0, outputs("1", "x y")), "{shell} {encoded}");
        }
    }
}

#[test]
fn c49_the_exit_status_of_the_last_command_stays() {
    for shell in SHELLS {
        for flags in ["-c", "-ec", "-uc", "-euc"] {
            for encoded in [false, true] {
                let done = ran(&[shell, flags], "A=1; (exit 7)", encoded);
                assert_eq!(done, (7, outputs("1", "")), "{shell} {flags} {encoded}");
            }
        }
    }
}

#[test]
fn an_early_exit_still_leaves_outputs() {
    for shell in SHELLS {
        for (command, code) in [
            ("A=1; exit 0; A=2", 0),
            ("A=1; exit 3\nA=2", 3),
            ("set -e; A=1; false; A=2", 1),
            (
                "set -u; A=1; : $undefined; A=2",
                if shell == "sh" { 2 } else { 127 },
            ),
        ] {
            let (status, left) = ran(&[shell, "-c"], command, false);
            assert_eq!(left, outputs("1", ""), "{shell}: {command}");
            assert_eq!(status, code, "{shell}: {command}");
        }
    }
}

#[test]
fn a_trap_of_the_commands_own_runs_and_sees_its_status() {
    for shell in SHELLS {
        let done = ran(
            &[shell, "-c"],
            "trap 'test $? = 5 && exit 6' EXIT; A=1; (exit 5)",
            false,
        );
        assert_eq!(done, (6, outputs("1", "")), "{shell}");
    }
}

#[test]
fn odd_endings_of_a_command_change_nothing() {
    for shell in SHELLS {
        for command in [
            "A=1 # said",
            "A=1 \\",
            "#!/bin/sh\nA=1",
            "\n\nA=1\n\n",
            "A=1; cat > /dev/null <<EOF\nnever closed",
            "A=1; f() { (exit 0); }; f",
            "A=1; (A=2; exit 0); A=1",
            "A=1; for n in 1 2; do :; done",
        ] {
            let done = ran(&[shell, "-c"], command, false);
            assert_eq!(done, (0, outputs("1", "")), "{shell}: {command}");
        }
    }
}

#[test]
fn a_syntax_error_and_a_killed_shell_keep_their_status() {
    for shell in SHELLS {
        let (status, _) = ran(&[shell, "-c"], "A=1\nif then", false);
        assert_eq!(status, 2, "{shell}");
        let (status, left) = ran(&[shell, "-c"], "kill -9 $$", false);
        assert_eq!((status, left), (-9, Vec::new()), "{shell}");
    }
}

#[test]
fn c47_base64_keeps_lines_quotes_and_tabs_exactly() {
    let value = "two\nlines \"and\" 'quotes' # $HOME \\n\tend\n\n";
    for shell in SHELLS {
        let command = format!("A='{}'", value.replace('\'', r"'\''"));
        let done = ran(&[shell, "-c"], &command, true);
        // `$(…)` is of the base64, so even line ends at the value's end stay.
        assert_eq!(done, (0, outputs(value, "")), "{shell}");
    }
    let command = format!("import os\nos.environ['A'] = {value:?}");
    assert_eq!(
        ran(&["python3", "-c"], &command, true),
        (0, outputs(value, ""))
    );
}

#[test]
fn python_writes_its_environment_however_it_ends() {
    let set = "import os, sys\nos.environ['A'] = '1'\n";
    for (end, code) in [
        ("", 0),
        ("sys.exit(4)", 4),
        ("raise ValueError('no')", 1),
        ("if True:\n    exit(0)\n", 0),
    ] {
        for encoded in [false, true] {
            let done = ran(&["python3", "-c"], &format!("{set}{end}"), encoded);
            assert_eq!(done, (code, outputs("1", "")), "{end} {encoded}");
        }
    }
    let future = format!("from __future__ import annotations\n{set}");
    assert_eq!(
        ran(&["python3", "-c"], &future, false),
        (0, outputs("1", ""))
    );
}

#[test]
fn keys_that_no_line_can_hold_are_left_out() {
    let wanted = [
        Wanted {
            key: "A=B",
            variable: "A",
        },
        Wanted {
            key: "A\nB",
            variable: "A",
        },
        Wanted {
            key: "",
            variable: "A",
        },
    ];
    let text = capture(&["sh".into(), "-c".into()], "true", &wanted, false);
    assert!(!text.contains("printf"), "{text}");
}

#[test]
fn powershell_is_asked_by_its_own_words() {
    for shell in ["pwsh", "powershell", r"C:\Windows\PowerShell.exe"] {
        let wanted = [Wanted {
            key: "it's",
            variable: "A",
        }];
        let plain = capture(&[shell.into()], "Write-Host hi", &wanted, false);
        assert_eq!(
            plain,
            "$global:__vmpool_outputs = { if (-not $global:__vmpool_written) { \
             $global:__vmpool_written = $true; $t = ''; \
             $t += 'it''s=' + ([string][Environment]::GetEnvironmentVariable('A')) + \"`n\"; \
             [IO.File]::AppendAllText($Env:DRONE_OUTPUT, $t) } }; \
             $null = Register-EngineEvent -SourceIdentifier PowerShell.Exiting -SupportEvent \
             -Action { & $global:__vmpool_outputs }; Write-Host hi\n\n\
             $global:__vmpool_ok = $?; & $global:__vmpool_outputs; \
             if (-not $global:__vmpool_ok) { exit 1 }\n"
        );
        let encoded = capture(&[shell.into()], "Write-Host hi", &wanted, true);
        assert!(encoded.contains(
            "'__B64__' + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes(\
             [string][Environment]::GetEnvironmentVariable('A')))"
        ));
        let using = capture(
            &[shell.into()],
            "using namespace System.IO\n1",
            &wanted,
            false,
        );
        assert!(using.starts_with("using namespace System.IO\n1\n"));
        assert!(using.ends_with("if (-not $global:__vmpool_ok) { exit 1 }\n"));
    }
}
