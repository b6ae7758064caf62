//! Colours in tables: on a terminal, and where nobody has asked for none.

use std::io::{self, IsTerminal as _};

/// Whether standard output may have colours.
pub(crate) fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// How a state is shown: what is well green, what passes by yellow, what is
/// wrong red, what is over grey.
fn colour(state: &str) -> Option<u8> {
    Some(match state {
        "ready" | "prepared" | "running" => 32,
        "booting" | "resuming" | "claimed" | "preparing" | "waiting" | "held" => 33,
        "draining" | "terminating" | "gone" | "ended" => 90,
        "lost" => 31,
        _ => return None,
    })
}

/// The table with the words of its column `STATE` in colours.
pub(crate) fn painted(table: &str) -> String {
    let Some(at) = table.lines().next().and_then(|header| header.find("STATE")) else {
        return table.to_owned();
    };
    let line = |line: &str| {
        let begin = line.char_indices().nth(at).map(|(begin, _)| begin);
        let cut = begin.map(|begin| line.split_at(begin));
        let Some((before, rest)) = cut else {
            return line.to_owned();
        };
        let word = rest.split(' ').next().unwrap_or_default();
        match colour(word) {
            Some(code) => {
                let after = &rest[word.len()..];
                format!("{before}\u{1b}[{code}m{word}\u{1b}[0m{after}")
            }
            None => line.to_owned(),
        }
    };
    let lines: Vec<_> = table.lines().map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_states_is_painted_and_nothing_else() {
        let table = "NAME   STATE  WHY\nready  ready  ready\nä      lost   gone\nx      odd";
        assert_eq!(
            painted(table),
            "NAME   STATE  WHY\nready  \u{1b}[32mready\u{1b}[0m  ready\n\
             ä      \u{1b}[31mlost\u{1b}[0m   gone\nx      odd"
        );
        assert_eq!(painted("NAME\nready"), "NAME\nready");
        assert_eq!(painted(""), "");
    }
}
