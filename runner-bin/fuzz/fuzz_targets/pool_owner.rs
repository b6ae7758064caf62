//! Queries of `/pool_owner`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| runner_bin_fuzz::pool_owner(query));
