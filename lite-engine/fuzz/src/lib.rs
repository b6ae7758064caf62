//! The agent's modules that read what others write, as the fuzz targets call them.
//!
//! They are taken by their files, not by their crates, so that nothing else is
//! built with instrumentation. `cargo xtask fuzz` builds and runs the targets
//! with a stable compiler; `cargo +nightly fuzz run TARGET` does as well, and
//! adds the address sanitizer.
//!
//! The seeds in `corpus/` are few and small; what a run finds grows under `target/`.

#[path = "../../src/livelog/assemble.rs"]
pub mod assemble;
#[path = "../../../vmpool-proto/src/incumbent/mod.rs"]
pub mod incumbent;
#[path = "../../src/mask/mod.rs"]
pub mod mask;
#[path = "../../src/output/mod.rs"]
pub mod output;
#[path = "../../src/report/mod.rs"]
pub mod report;

/// Small ones, so that a short input reaches them.
pub fn small_limits() -> report::Limits {
    report::Limits {
        bytes: 64 * 1024,
        piece: 512,
        depth: 12,
        waiting: 8,
        failures: 4,
        suites: 4,
        ..report::Limits::default()
    }
}

/// The pieces of `text` that `cuts` makes, by turns as long as its bytes say.
pub fn pieces<'a>(mut text: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().cycle();
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let length = lengths
            .next()
            .map_or(text.len(), |cut| usize::from(*cut) + 1);
        let (piece, rest) = text.split_at(length.min(text.len()));
        text = rest;
        Some(piece)
    })
}

/// The definition that masking equals: leftmost, the longest of several.
pub fn masked_slowly(values: &[&str], text: &[u8], mask: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let longest = values
            .iter()
            .filter(|value| text[at..].starts_with(value.as_bytes()))
            .map(|value| value.len())
            .max();
        if let Some(length) = longest {
            out.extend_from_slice(mask);
            at += length;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}
