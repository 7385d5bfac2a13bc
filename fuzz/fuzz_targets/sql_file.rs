//! Any text is a file of the project, or refused at places that it has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| fuzz::check(text));
