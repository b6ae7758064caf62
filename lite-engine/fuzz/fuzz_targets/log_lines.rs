//! Lines of a log: however the bytes are cut, the lines are the same, in order
//! and bounded, and lose nothing but what is too long.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use lite_engine_fuzz::assemble::{Assembler, LINE_MAX, Line};
use lite_engine_fuzz::pieces;

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut assembler = Assembler::default();
    for piece in pieces {
        assembler.push(piece, SystemTime::UNIX_EPOCH, |line| lines.push(line));
    }
    lines.extend(assembler.finish(SystemTime::UNIX_EPOCH));
    lines
}

fuzz_target!(|data: &[u8]| {
    // A last byte of 255 makes the input long, for lines beyond the limit.
    let long = data.last() == Some(&255);
    let data = if long {
        data.repeat(1 + LINE_MAX / data.len())
    } else {
        data.to_vec()
    };
    let whole = lines(std::iter::once(&data[..]));
    assert_eq!(lines(pieces(&data, &data)), whole);
    assert!(
        (0..)
            .zip(&whole)
            .all(|(pos, line): (u64, &Line)| line.pos == pos)
    );
    // A byte that is not UTF-8 becomes a character of three.
    assert!(
        whole
            .iter()
            .all(|line| line.out.len() <= 3 * LINE_MAX + 100)
    );
    if !data
        .split(|byte| *byte == b'\n')
        .any(|line| line.len() > LINE_MAX)
    {
        let mut text = String::from_utf8_lossy(&data).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let all: String = whole.into_iter().map(|line| line.out).collect();
        assert_eq!(all, text);
    }
});
