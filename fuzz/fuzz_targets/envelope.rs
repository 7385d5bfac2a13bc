//! Any bytes are an envelope or a fault. An envelope is JSON whose images are objects; a fault does not quote it. What a
//! fold asks of it is JSON too.
#![no_main]

use std::collections::BTreeSet;

use changes::Envelope;
use debezium::{LogicalTypes, RowImages, key_image, merged, unavailable};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|value: &[u8]| {
    match Envelope::parse(value) {
        Ok(envelope) => {
            for image in [&envelope.before, &envelope.after].into_iter().flatten() {
                assert!(image.get().starts_with('{'), "an image is an object");
            }
            assert!(is_json(value));
        }
        Err(fault) => assert!(fault.to_string().len() < 200, "a fault is short"),
    }
    if let Some(key) = key_image(value) {
        assert!(key.starts_with('{') && is_json(key.as_bytes()));
    }
    let Some(images) = RowImages::of(value) else {
        return;
    };
    let types = images.schema.map(LogicalTypes::of).unwrap_or_default();
    for row in [images.before, images.after].into_iter().flatten() {
        assert!(row.starts_with('{') && is_json(row.as_bytes()));
        let rewritten = [types.applied(row), unavailable::nulled(row)];
        for row in rewritten.iter().flatten() {
            assert!(is_json(row.as_bytes()));
        }
        let names = unavailable::names(row);
        assert_eq!(names.is_some(), rewritten[1].is_some());
        let fields: BTreeSet<String> = names.into_iter().flatten().collect();
        if let Some(filled) = merged(value, &[(&fields, value)]) {
            assert!(is_json(&filled));
        }
    }
});

/// By its grammar: a number may be beyond every type.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}
