//! Any lines after `-- @` above a SELECT.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &str| {
    let mut text: String = lines.lines().map(|line| format!("-- @{line}\n")).collect();
    text.push_str("SELECT 1 AS id");
    fuzz::check(&text);
});
