//! How else a secret looks when a tool prints it encoded.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a URL.
const URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A piece of base64 is hidden from this many characters on: shorter ones
/// are found in any text.
const BASE64_MIN: usize = 6;

/// Longer values are not searched for in base64: that would make several
/// patterns of their length. Their lines still are.
const BASE64_VALUE_MAX: usize = 8 * 1024;

/// Where `base64` and PEM files break lines.
const WRAPS: [usize; 2] = [76, 64];

/// Appends a whole value in all of its spellings.
pub(super) fn of_value(value: &str, patterns: &mut Vec<Vec<u8>>) {
    of_line(value, patterns);
    if value.len() <= BASE64_VALUE_MAX {
        base64(value.as_bytes(), patterns);
    }
}

/// Appends a value, or a line of one, in the spellings that cost little.
pub(super) fn of_line(line: &str, patterns: &mut Vec<Vec<u8>>) {
    let mut add = |spelling: String| {
        if spelling != line {
            patterns.push(spelling.into_bytes());
        }
    };
    let json = in_json(line);
    // Some writers escape what HTML would take for its own.
    add(json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"));
    add(json);
    let url = in_url(line);
    add(url.replace("%20", "+"));
    add(lower_escapes(&url));
    add(url);
    // A shell that traces what it runs prints it so.
    add(line.replace('\'', r"'\''"));
    patterns.push(line.as_bytes().to_vec());
}

/// Inside the quotation marks of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn in_url(text: &str) -> String {
    utf8_percent_encode(text, URL).to_string()
}

fn lower_escapes(url: &str) -> String {
    let mut pieces = url.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        // Two digits follow each of these signs.
        let (digits, rest) = piece.split_at(2);
        out.push('%');
        out.push_str(&digits.to_ascii_lowercase());
        out.push_str(rest);
    }
    out
}

/// The characters of base64 that tell of the value alone, for each of the
/// three places at which it may begin in a group of three bytes.
fn base64(value: &[u8], patterns: &mut Vec<Vec<u8>>) {
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        let engine = GeneralPurpose::new(alphabet, NO_PAD);
        for before in 0..3_usize {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(value);
            let encoded = engine.encode(&bytes);
            // Six bits a character: the first ones and the last one are shared with what is around.
            let from = (before * 8).div_ceil(6);
            let to = bytes.len() * 8 / 6;
            let certain = encoded.get(from..to).unwrap_or_default();
            if before == 0 && encoded.len() >= BASE64_MIN {
                // By itself even its last character is certain.
                patterns.push(encoded.as_bytes().to_vec());
            }
            if certain.len() < BASE64_MIN {
                continue;
            }
            patterns.push(certain.as_bytes().to_vec());
            // A value that begins a text may be wrapped.
            for wrap in WRAPS {
                if before == 0 && certain.len() > wrap {
                    let lines = certain.as_bytes().chunks(wrap);
                    patterns.extend(lines.filter(|line| line.len() >= BASE64_MIN).map(Vec::from));
                }
            }
        }
    }
}
