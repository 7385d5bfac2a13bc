use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

/// An envelope with some fields of its `after` as other envelopes have them; NULL where one has no such field.
pub fn merged(value: &[u8], sources: &[(&BTreeSet<String>, &[u8])]) -> Option<Vec<u8>> {
    let mut outer: Fields<'_> = serde_json::from_slice(value).ok()?;
    let is_wrapped = outer.contains_key("payload") && !outer.contains_key("op");
    let payload = outer.get("payload").copied().filter(|_| is_wrapped);
    let mut inner: Fields<'_> = match payload {
        Some(payload) => serde_json::from_str(payload.get()).ok()?,
        None => outer.clone(),
    };
    let after = inner.get("after")?.get();
    let mut row: Fields<'_> = serde_json::from_str(after).ok()?;
    let null = RawValue::from_string("null".to_owned()).ok()?;
    let images: Vec<_> = sources
        .iter()
        .map(|(fields, value)| (*fields, after_of(value).unwrap_or_default()))
        .collect();
    for (fields, image) in &images {
        for field in *fields {
            row.insert(field.clone(), image.get(field).copied().unwrap_or(&null));
        }
    }
    let after = raw(&row)?;
    inner.insert("after".to_owned(), &after);
    let text = raw(&inner)?;
    if !is_wrapped {
        return Some(text.get().as_bytes().to_vec());
    }
    outer.insert("payload".to_owned(), &text);
    Some(raw(&outer)?.get().as_bytes().to_vec())
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn after_of(value: &[u8]) -> Option<Fields<'_>> {
    let outer: Fields<'_> = serde_json::from_slice(value).ok()?;
    let inner: Fields<'_> = match outer.get("payload") {
        Some(payload) if !outer.contains_key("op") => serde_json::from_str(payload.get()).ok()?,
        _ => outer,
    };
    serde_json::from_str(inner.get("after")?.get()).ok()
}

fn raw(fields: &Fields<'_>) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_merged_with_and_without_schema() {
        let fields = BTreeSet::from(["t".to_owned(), "new".to_owned()]);
        let source = br#"{"before":null,"after":{"id":1,"t":1.10},"op":"c"}"#;
        let value = br#"{"after":{"id":1,"t":"x"},"op":"u"}"#;
        let text = merged(value, &[(&fields, source)]).expect("merged");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"after":{"id":1,"new":null,"t":1.10},"op":"u"}"#
        );
        let wrapped = br#"{"schema":{"a":1},"payload":{"after":{"t":"x"},"op":"u"}}"#;
        let gone = br#"{"before":{"t":5},"after":null,"op":"d"}"#;
        let text = merged(wrapped, &[(&fields, gone)]).expect("merged");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"payload":{"after":{"new":null,"t":null},"op":"u"},"schema":{"a":1}}"#
        );
    }
}
