//! A password among the arguments: everybody on this host can read it there.
//! It is told of, once, and never shown.

use std::ffi::OsStr;

use vmpool_store::PostgresJournal;

/// Warns on standard error, if an argument of this process is the URL of a
/// journal with a password.
pub(crate) fn warn() {
    if std::env::args_os().any(|argument| shows_password(&argument)) {
        eprintln!(
            "vmpool: warning: others on this host can read the password in --journal; set the \
             environment variable VMPOOL_JOURNAL to that URL instead"
        );
    }
}

/// Also of `--journal=URL`.
fn shows_password(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    let url = text.strip_prefix("--journal=").unwrap_or(&text);
    PostgresJournal::has_password(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_an_argument_with_a_password_is_told_from_one_without() {
        for (argument, shows) in [
            ("postgres://me:secret@db/vmpool", true),
            ("--journal=postgres://me:secret@db/vmpool", true),
            ("postgresql://db/vmpool?user=me&password=secret", true),
            ("postgres://me:s@cret@db/vmpool", true),
            ("postgres://me@db:5432/vmpool", false),
            ("postgres://db/vmpool", false),
            ("--journal", false),
            ("https://me:secret@host/", false),
            ("serve", false),
        ] {
            assert_eq!(shows_password(argument.as_ref()), shows, "{argument}");
        }
    }
}
