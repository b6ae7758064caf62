//! Bodies of `/setup`, `/step`, `/destroy` and `/suspend`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| runner_bin_fuzz::requests(data));
