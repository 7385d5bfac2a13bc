//! Any text is a policy file, or refused at places that it has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| fuzz::check_policies(text));
