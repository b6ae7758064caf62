//! The text that makes a shell or interpreter write variables to the output file when it ends.
//!
//! It comes around the command, not only after it, because a command may end
//! by `exit`. What it promises:
//! - the command's exit status stays as it was;
//! - each variable is written once, however the command ends, short of a
//!   signal, `exec`, or a trap of its own followed by an early `exit`;
//! - the command's lines keep their numbers in a shell's messages, and stand
//!   one line further down in Python's.
//!
//! ```text
//! sh, bash, …     trap on EXIT; command; write now, restore the status
//! pwsh            engine event on exit; command; write now, restore the status
//! python          atexit; command
//! ```

/// One variable to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The output's name. One with `=` or control characters can't be written and is left out.
    pub key: &'a str,
    /// The variable's name in the step's environment. One that is not set is written as empty.
    pub variable: &'a str,
}

/// `command`, run by `entrypoint`, such that it writes these variables to the
/// file named by [`FILE_VARIABLE`](super::FILE_VARIABLE), as base64 if
/// `encoded`: then values of several lines and with quotes stay as they are.
pub fn capture(
    entrypoint: &[String],
    command: &str,
    wanted: &[Wanted<'_>],
    encoded: bool,
) -> String {
    let wanted: Vec<_> = wanted.iter().filter(|wanted| writable(wanted)).collect();
    match Language::of(entrypoint) {
        Language::Shell => shell(command, &wanted, encoded),
        Language::PowerShell => powershell(command, &wanted, encoded),
        Language::Python => python(command, &wanted, encoded),
    }
}

enum Language {
    Shell,
    PowerShell,
    Python,
}

impl Language {
    fn of(entrypoint: &[String]) -> Self {
        let program = entrypoint.first().map_or("", String::as_str);
        let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        match name.strip_suffix(".exe").unwrap_or(&name) {
            "pwsh" | "powershell" => Self::PowerShell,
            python if python.starts_with("python") => Self::Python,
            _ => Self::Shell,
        }
    }
}

fn writable(wanted: &Wanted<'_>) -> bool {
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    plain(wanted.key) && !wanted.key.contains('=') && plain(wanted.variable)
}

/// The command's status is read before, and given back by a subshell, which
/// ends a shell with `set -e` and leaves any other to end with it.
fn shell(command: &str, wanted: &[&Wanted<'_>], encoded: bool) -> String {
    let lines: Vec<String> = wanted
        .iter()
        .map(|Wanted { key, variable }| {
            let key = key.replace('\'', r"'\''");
            // No shell has a variable of another kind of name.
            let value = if is_name(variable) {
                format!("\"${{{variable}-}}\"")
            } else {
                "''".to_owned()
            };
            if encoded {
                format!(
                    "printf '%s=__B64__%s\\n' '{key}' \"$(printf %s {value} | base64 | tr -d '\\n')\"; "
                )
            } else {
                format!("printf '%s=%s\\n' '{key}' {value}; ")
            }
        })
        .collect();
    let lines = lines.concat();
    format!(
        "__vmpool_outputs() {{ [ -z \"${{__vmpool_written-}}\" ] || return 0; __vmpool_written=1; \
         {{ {lines}:; }} >> \"$DRONE_OUTPUT\"; }}; trap '__vmpool_outputs || :' EXIT; {command}\n\n\
         __vmpool_status=$?; __vmpool_outputs || :; (exit $__vmpool_status)\n"
    )
}

fn is_name(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    rest.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn powershell(command: &str, wanted: &[&Wanted<'_>], encoded: bool) -> String {
    let lines: Vec<String> = wanted
        .iter()
        .map(|Wanted { key, variable }| {
            let key = key.replace('\'', "''");
            let variable = variable.replace('\'', "''");
            let value = format!("[string][Environment]::GetEnvironmentVariable('{variable}')");
            let value = if encoded {
                format!(
                    "'__B64__' + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes({value}))"
                )
            } else {
                format!("({value})")
            };
            format!("$t += '{key}=' + {value} + \"`n\"; ")
        })
        .collect();
    let lines = lines.concat();
    let write = format!(
        "$global:__vmpool_outputs = {{ if (-not $global:__vmpool_written) {{ \
         $global:__vmpool_written = $true; $t = ''; {lines}\
         [IO.File]::AppendAllText($Env:DRONE_OUTPUT, $t) }} }}; "
    );
    let end = "$global:__vmpool_ok = $?; & $global:__vmpool_outputs; \
               if (-not $global:__vmpool_ok) { exit 1 }\n";
    if must_come_first(command, &["using", "param"]) {
        return format!(
            "{command}\n\n$global:__vmpool_ok = $?; {write}& $global:__vmpool_outputs; \
             if (-not $global:__vmpool_ok) {{ exit 1 }}\n"
        );
    }
    format!(
        "{write}$null = Register-EngineEvent -SourceIdentifier PowerShell.Exiting -SupportEvent \
         -Action {{ & $global:__vmpool_outputs }}; {command}\n\n{end}"
    )
}

fn python(command: &str, wanted: &[&Wanted<'_>], encoded: bool) -> String {
    let pairs: Vec<String> = wanted
        .iter()
        .map(|Wanted { key, variable }| format!("({}, {}), ", literal(key), literal(variable)))
        .collect();
    let pairs = pairs.concat();
    let value = if encoded {
        "'__B64__' + __import__('base64').b64encode(o.fsencode(o.environ.get(v, ''))).decode()"
    } else {
        "o.environ.get(v, '')"
    };
    let write = format!(
        "__import__('atexit').register(lambda o=__import__('os'), \
         w=({pairs}): open(o.environ['DRONE_OUTPUT'], 'a', encoding='utf-8', \
         errors='surrogateescape').write(''.join(k + '=' + {value} + '\\n' for k, v in w)))"
    );
    if command
        .lines()
        .any(|line| must_come_first(line, &["from __future__"]))
    {
        return format!("{command}\n\n{write}\n");
    }
    format!("{write}\n{command}\n")
}

/// A string of Python, whatever is in it.
fn literal(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| {
            let escape = matches!(c, '\'' | '\\').then_some('\\');
            escape.into_iter().chain([c])
        })
        .collect();
    format!("'{escaped}'")
}

/// Whether the text begins with one of these words, before which nothing may stand.
fn must_come_first(text: &str, words: &[&str]) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    words.iter().any(|word| text.starts_with(word))
}
