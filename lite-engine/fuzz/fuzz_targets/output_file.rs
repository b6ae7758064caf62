//! Output files: both dialects take or refuse anything, and name each variable once.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use lite_engine_fuzz::output::{Dialect, parse};

fuzz_target!(|data: &[u8]| {
    for dialect in [Dialect::Lines, Dialect::Statements] {
        if let Ok(variables) = parse(data, dialect) {
            let mut keys = HashSet::new();
            assert!(variables.iter().all(|(key, _)| keys.insert(key)));
        }
    }
});
