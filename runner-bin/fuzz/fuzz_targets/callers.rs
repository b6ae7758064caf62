//! Files of callers and their tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| runner_bin_fuzz::callers(data));
