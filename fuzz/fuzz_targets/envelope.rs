//! Any bytes are an envelope or a fault. An envelope is JSON whose images are objects; a fault does not quote it.
#![no_main]

use changes::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    match Envelope::parse(value) {
        Ok(envelope) => {
            for image in [&envelope.before, &envelope.after].into_iter().flatten() {
                assert!(image.get().starts_with('{'), "an image is an object");
            }
            assert!(serde_json::from_slice::<serde_json::Value>(value).is_ok());
        }
        Err(fault) => assert!(fault.to_string().len() < 200, "a fault is short"),
    }
});
