//! Writes JSON as the incumbent's program does: indented by two blanks, with
//! `<`, `>`, `&` and the two line separators of Unicode escaped, and a newline
//! at the end.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

/// An answer's body.
///
/// # Panics
/// When a map's keys are no texts; the types of this module have none such.
pub fn encode(answer: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let mut json = serde_json::Serializer::with_formatter(&mut body, Indented::default());
    answer
        .serialize(&mut json)
        .expect("texts, numbers, lists and maps of texts are JSON");
    body.push(b'\n');
    body
}

#[derive(Default)]
struct Indented(PrettyFormatter<'static>);

macro_rules! as_indented {
    ($($method:ident($($flag:ident)?),)*) => {$(
        fn $method<W: ?Sized + Write>(&mut self, out: &mut W $(, $flag: bool)?) -> io::Result<()> {
            self.0.$method(out $(, $flag)?)
        }
    )*};
}

impl Formatter for Indented {
    as_indented! {
        begin_array(),
        end_array(),
        begin_array_value(first),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first),
        begin_object_value(),
        end_object_value(),
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, special)) = rest.char_indices().find(|(_, char)| is_escaped(*char)) {
            out.write_all(&rest.as_bytes()[..at])?;
            write!(out, "\\u{:04x}", u32::from(special))?;
            rest = &rest[at + special.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

fn is_escaped(char: char) -> bool {
    matches!(char, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}
