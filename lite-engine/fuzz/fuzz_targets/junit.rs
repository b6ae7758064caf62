//! JUnit reports: anything is read or refused within its limits, and has a table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lite_engine_fuzz::report::{Kind, read_from};
use lite_engine_fuzz::small_limits;

fuzz_target!(|data: &[u8]| {
    let limits = small_limits();
    let (report, _) = read_from(data, Kind::Junit, &limits);
    assert!(report.failures().len() <= limits.failures && report.suites().len() <= limits.suites);
    let table = report.table();
    assert!(!table.contains(|c: char| c.is_control() && c != '\n'));
});
