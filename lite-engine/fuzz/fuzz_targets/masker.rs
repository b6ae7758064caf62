//! Masking: the input's first line has secrets between spaces, the rest is the
//! stream. However that is cut, the result is the same and shows no secret;
//! secrets that are spelled in one way only are hidden as the slow definition says.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lite_engine_fuzz::mask::{Expressions, MASK, Masker};
use lite_engine_fuzz::{masked_slowly, pieces};

/// Compiled once: that takes as long as many inputs.
static EXPRESSIONS: LazyLock<Expressions> =
    LazyLock::new(|| Expressions::new(["a+b", "[0-9]{3}"]).expect("two expressions"));

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let Ok(first) = str::from_utf8(&data[..end]) else {
        return;
    };
    let text = &data[end..];
    let secrets: Vec<&str> = first
        .split(' ')
        .filter(|secret| secret.len() >= 2)
        .collect();
    let run = |cuts: &[u8], with_expressions: bool| {
        let mut masker = Masker::new(&secrets).expect("few secrets");
        if with_expressions {
            masker = masker.and_expressions(&EXPRESSIONS);
        }
        let mut out = Vec::new();
        pieces(text, cuts).for_each(|piece| masker.push(piece, &mut out));
        masker.finish(&mut out);
        out
    };
    for with_expressions in [false, true] {
        let whole = run(&[], with_expressions);
        for cuts in [&[0][..], data] {
            assert_eq!(run(cuts, with_expressions), whole);
        }
    }
    let out = run(&[], false);
    for secret in secrets.iter().map(|secret| secret.trim()) {
        let hidden = secret.len() >= 2 && !secret.contains('*');
        let shown = || {
            out.windows(secret.len())
                .any(|shown| shown == secret.as_bytes())
        };
        assert!(!hidden || !shown(), "{secret}");
    }
    let one_spelling = |secret: &&str| {
        secret.len() <= 3 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if secrets.iter().all(one_spelling) {
        assert_eq!(out, masked_slowly(&secrets, text, MASK));
    }
});
