//! Parts that a test needs and a machine may lack: PostgreSQL, Kafka, Python, a browser.
//!
//! `SPORTLAKE_TEST_POSTGRES` and the like say where they are; `tests/run` finds them. A test whose part is missing fails,
//! unless `SPORTLAKE_TEST_SKIPPED` names a file, where it leaves its name, which `tests/run` tells at the end.

use std::ffi::OsString;
use std::io::Write as _;

const SKIPPED: &str = "SPORTLAKE_TEST_SKIPPED";

/// What the variable says of a part; none where this test is to be skipped.
#[track_caller]
pub(crate) fn part(variable: &str) -> Option<OsString> {
    let found = std::env::var_os(variable).filter(|found| !found.is_empty());
    if found.is_none() {
        missing(variable);
    }
    found
}

/// This test is skipped, or a part of it, for want of something; fails where nobody takes the names of such tests.
#[track_caller]
pub(crate) fn missing(what: &str) {
    let skipped = std::env::var_os(SKIPPED);
    assert!(
        skipped.is_some(),
        "there is no {what}, which ./tests/run finds or installs; to skip what needs it, let {SKIPPED} name a file for \
         the names of such tests"
    );
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(skipped.unwrap_or_default())
        .expect("a file for the names of skipped tests");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // One write a line: tests of several processes come here at once.
    file.write_all(format!("{test}: no {what}\n").as_bytes())
        .expect("written");
}
