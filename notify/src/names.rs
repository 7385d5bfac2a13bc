use std::collections::BTreeMap;
use std::sync::Arc;

use changes::{Envelope, Op};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

/// Employees whose first name is kept in memory, at most; more are told as somebody.
const MAX_NAMES: usize = 200_000;

/// Bytes of a first name that are kept.
const MAX_BYTES: usize = 256;

/// First names by employee, as the topic tells them. Kept in memory alone.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<RwLock<BTreeMap<i64, Box<str>>>>);

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    prenom: Value,
}

impl Names {
    pub(crate) fn of(&self, employee: i64) -> Option<String> {
        self.0.read().get(&employee).map(|name| name.to_string())
    }

    /// Takes in the next message of the topic. What is no change event says nothing about anybody.
    pub(crate) fn apply(&self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(value) = value else {
            self.forget(key);
            return;
        };
        let Ok(envelope) = Envelope::parse(value) else {
            return;
        };
        match (envelope.op, envelope.after) {
            (Op::Truncate, _) => self.0.write().clear(),
            (Op::Delete, _) => self.forget(key),
            (Op::Create | Op::Update | Op::Read, Some(after)) => self.learn(after.get()),
            _ => {}
        }
    }

    fn learn(&self, after: &str) {
        let Ok(row) = serde_json::from_str::<Row>(after) else {
            return;
        };
        let Some(id) = row.id.as_i64() else { return };
        let mut names = self.0.write();
        match row.prenom.as_str() {
            Some("__debezium_unavailable_value") => {}
            Some(name) if name.len() <= MAX_BYTES => {
                if names.len() < MAX_NAMES || names.contains_key(&id) {
                    names.insert(id, name.into());
                }
            }
            _ => {
                names.remove(&id);
            }
        }
    }

    fn forget(&self, key: Option<&[u8]>) {
        if let Some(id) = key.and_then(key_id) {
            self.0.write().remove(&id);
        }
    }
}

/// The column `id` of a message key, `schemas.enable` true or false.
pub(crate) fn key_id(key: &[u8]) -> Option<i64> {
    let key: Value = serde_json::from_slice(key).ok()?;
    key.get("payload").unwrap_or(&key).get("id")?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_topic() {
        let names = Names::default();
        let say = |key: &str, value: Option<&str>| {
            names.apply(Some(key.as_bytes()), value.map(str::as_bytes));
        };
        say(
            r#"{"id":1}"#,
            Some(r#"{"op":"r","after":{"id":1,"prenom":"Juliette"}}"#),
        );
        say(
            r#"{"id":2}"#,
            Some(r#"{"op":"c","after":{"id":2,"prenom":"Paul"}}"#),
        );
        say(
            r#"{"id":3}"#,
            Some(r#"{"op":"c","after":{"id":3,"prenom":"Léa"}}"#),
        );
        say(
            r#"{"id":1}"#,
            Some(r#"{"op":"u","after":{"id":1,"prenom":"Julie"}}"#),
        );
        say(r#"{"id":2}"#, Some(r#"{"op":"d","after":null}"#));
        say(r#"{"schema":{},"payload":{"id":3}}"#, None);
        say("poison", Some("poison"));
        assert_eq!(names.of(1).as_deref(), Some("Julie"));
        assert_eq!(names.of(2), None);
        assert_eq!(names.of(3), None);
        let long = format!(
            r#"{{"op":"u","after":{{"id":1,"prenom":"{}"}}}}"#,
            "x".repeat(300)
        );
        say(r#"{"id":1}"#, Some(&long));
        assert_eq!(names.of(1), None, "no name is longer");
    }
}
