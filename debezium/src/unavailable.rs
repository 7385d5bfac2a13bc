//! Values that Debezium does not know: the database did not log them, because the change left them as they were.
//!
//! Source: Debezium PostgreSQL connector documentation, "Toasted values", and its `unavailable.value.placeholder`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

/// What stands for a text; other types have forms of their own.
const TEXT: &str = "__debezium_unavailable_value";
const BASE64: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
const HEX: &str = "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";
/// The name-based UUID of the text, in arrays of UUIDs.
const UUID: &str = "b68a35a7-17ad-35b3-af2a-ae46edb4545a";

/// The beginnings of all forms. Arrays of numbers hold the text's bytes.
static FORMS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
    [
        TEXT,
        "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1Z",
        HEX,
        UUID,
        "[95,95,100,101,98,101,122",
        "[95.0,95.0,100.0,101.0,98.0",
    ]
    .map(|form| Finder::new(form.as_bytes()))
});

/// Whether a message may hold such a value: a search in its bytes.
pub fn may_hold(value: &[u8]) -> bool {
    FORMS.iter().any(|form| form.find(value).is_some())
}

/// The row with every value that is not known replaced by null; none where all are known.
pub fn nulled(row: &str) -> Option<String> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(row).ok()?;
    let null = RawValue::from_string("null".to_owned()).ok()?;
    let mut found = false;
    for value in fields.values_mut() {
        if is_unavailable(value.get()) {
            *value = &null;
            found = true;
        }
    }
    let text = found.then(|| serde_json::to_string(&fields).ok());
    text.flatten()
}

/// Names of the row's fields whose value is not known, sorted.
pub fn names(row: &str) -> Option<Vec<String>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(row).ok()?;
    let unknown = fields
        .into_iter()
        .filter(|(_, value)| is_unavailable(value.get()));
    let names: Vec<String> = unknown.map(|(name, _)| name).collect();
    (!names.is_empty()).then_some(names)
}

fn is_unavailable(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'"') => text(json).is_some_and(|text| {
            // A map whose column is text to the connector is JSON within the string.
            let is_map = text.starts_with('{') && is_unavailable(&text);
            is_map || [TEXT, BASE64, HEX].contains(&text.as_str())
        }),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            let is_form = |item: &&RawValue| {
                text(item.get()).is_some_and(|text| [TEXT, BASE64, HEX, UUID].contains(&&*text))
            };
            !items.is_empty() && (items.iter().all(is_form) || is_bytes_of_text(&items))
        }
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> =
                serde_json::from_str(json).unwrap_or_default();
            match (fields.len(), fields.get("value")) {
                (1, _) => fields.contains_key(TEXT),
                // A number of any scale: `{"scale": .., "value": base64}`.
                (2, Some(value)) => {
                    fields.contains_key("scale") && text(value.get()).as_deref() == Some(BASE64)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn is_bytes_of_text(items: &[&RawValue]) -> bool {
    items.len() == TEXT.len()
        && items.iter().zip(TEXT.bytes()).all(|(item, byte)| {
            let number: Option<f64> = item.get().parse().ok();
            number == Some(f64::from(byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: bool) {
        let row = format!(r#"{{"id":1,"v":{value}}}"#);
        assert_eq!(may_hold(row.as_bytes()), expected || value.contains(TEXT));
        assert_eq!(names(&row), expected.then(|| vec!["v".to_owned()]));
        let nulled = nulled(&row);
        assert_eq!(
            nulled.as_deref(),
            expected.then_some(r#"{"id":1,"v":null}"#)
        );
    }

    #[test]
    fn knows_every_form_of_a_value_that_is_not_known() {
        check(r#""__debezium_unavailable_value""#, true);
        check(&format!("\"{BASE64}\""), true);
        check(&format!("\"{HEX}\""), true);
        check(r#"["__debezium_unavailable_value"]"#, true);
        check(&format!("[\"{UUID}\"]"), true);
        let bytes: Vec<String> = TEXT.bytes().map(|byte| byte.to_string()).collect();
        check(&format!("[{}]", bytes.join(",")), true);
        let floats: Vec<String> = TEXT.bytes().map(|byte| format!("{byte}.0")).collect();
        check(&format!("[{}]", floats.join(",")), true);
        check(
            r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
            true,
        );
        check(
            r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
            true,
        );
        check(&format!(r#"{{"scale":0,"value":"{BASE64}"}}"#), true);
    }

    #[test]
    fn a_value_that_only_speaks_of_it_is_known() {
        check(r#""see __debezium_unavailable_value""#, false);
        check(r#"["a","b"]"#, false);
        check("[]", false);
        check("{}", false);
        check(r#"{"a":"__debezium_unavailable_value"}"#, false);
        check("95", false);
        check("null", false);
    }
}
