use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::{Map, Value};

use super::Event;
use crate::project::FieldType;

/// A field that comes and goes is missing for good after this many events without it.
const MISSED: usize = 100;

/// What the newest events of a topic look like.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    topic: Option<String>,
    key: Vec<String>,
    /// As the messages' own schema says; empty without one.
    declared: BTreeMap<String, FieldType>,
    /// Values of each field that is there, newest first; NULLs are left out.
    observed: BTreeMap<String, Vec<Value>>,
}

impl Shape {
    /// Of events, newest first; none when no event has a row.
    pub(super) fn of(events: &[Event]) -> Option<Self> {
        let envelopes: Vec<Value> = events
            .iter()
            .filter_map(|event| serde_json::from_slice(&event.value).ok())
            .collect();
        let rows: Vec<&Map<String, Value>> = envelopes
            .iter()
            .filter_map(|envelope| payload(envelope).get("after")?.as_object())
            .collect();
        rows.first()?;
        let newest = envelopes.first()?;
        Some(Self {
            topic: topic(payload(newest)),
            key: events
                .first()
                .map(|event| key(&event.key))
                .unwrap_or_default(),
            declared: declared(newest),
            observed: observed(&rows),
        })
    }

    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Fields of the message key, in order.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The fields and their types; a known type stays while the values agree with it.
    pub fn fields(
        &self,
        known: Option<&BTreeMap<String, FieldType>>,
    ) -> BTreeMap<String, FieldType> {
        if !self.declared.is_empty() {
            let declared = self.declared.iter();
            return declared
                .map(|(field, declared)| {
                    let is_vague = known.and_then(|known| known.get(field))
                        == Some(&FieldType::Decimal)
                        && matches!(declared, FieldType::Numeric { .. });
                    let field_type = if is_vague {
                        FieldType::Decimal
                    } else {
                        *declared
                    };
                    (field.clone(), field_type)
                })
                .collect();
        }
        let known = |field: &str| known?.get(field).copied();
        self.observed
            .iter()
            .map(|(field, values)| {
                let agreed = known(field)
                    .filter(|known| values.first().is_none_or(|value| agrees(*known, value)));
                (field.clone(), agreed.unwrap_or_else(|| inferred(values)))
            })
            .collect()
    }
}

/// The envelope, taken out of the wrapping that `schemas.enable` adds.
fn payload(message: &Value) -> &Value {
    match (message.get("payload"), message.get("op")) {
        (Some(payload), None) => payload,
        _ => message,
    }
}

/// Debezium names a topic after its server, schema and table.
fn topic(envelope: &Value) -> Option<String> {
    let part = |name: &str| envelope.get("source")?.get(name)?.as_str();
    let parts = ["name", "schema", "table"].map(part);
    let parts: Option<Vec<&str>> = parts.into_iter().collect();
    Some(parts?.join("."))
}

fn key(bytes: &[u8]) -> Vec<String> {
    let key: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let fields = match (key.get("schema"), key.get("payload")) {
        (Some(_), Some(payload)) => payload,
        _ => &key,
    };
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(name, _)| name.clone()).collect()
}

fn declared(message: &Value) -> BTreeMap<String, FieldType> {
    let parts = message.pointer("/schema/fields").and_then(Value::as_array);
    let after = parts
        .into_iter()
        .flatten()
        .find(|part| part["field"] == "after");
    let fields = after.and_then(|after| after["fields"].as_array());
    let typed = fields.into_iter().flatten().filter_map(|field| {
        let name = field["field"].as_str()?.to_owned();
        let logical = field["name"].as_str().unwrap_or_default();
        let plain = connect_type(field["type"].as_str()?, logical);
        Some((name, numeric(field).unwrap_or(plain)))
    });
    typed.collect()
}

/// Source: Debezium's documentation, "Data type mappings"; Kafka Connect's, "Schema".
fn connect_type(physical: &str, logical: &str) -> FieldType {
    let logical = logical
        .trim_start_matches("io.debezium.time.")
        .trim_start_matches("io.debezium.data.")
        .trim_start_matches("org.apache.kafka.connect.data.");
    match (logical, physical) {
        ("Date", _) => FieldType::Date,
        ("Time" | "MicroTime" | "NanoTime", _) => FieldType::Time,
        ("Timestamp" | "MicroTimestamp" | "NanoTimestamp", _) => FieldType::Timestamp,
        ("ZonedTimestamp", _) => FieldType::TimestampTz,
        ("Decimal" | "VariableScaleDecimal", _) => FieldType::Decimal,
        ("Json", _) | (_, "struct" | "map") => FieldType::Json,
        (_, "boolean") => FieldType::Boolean,
        (_, "int8" | "int16") => FieldType::Int16,
        (_, "int32") => FieldType::Int32,
        (_, "int64") => FieldType::Int64,
        (_, "float" | "float32") => FieldType::Float,
        (_, "double" | "float64") => FieldType::Double,
        (_, "bytes") => FieldType::Bytes,
        (_, "array") => FieldType::Array,
        _ => FieldType::String,
    }
}

/// The type of a NUMERIC whose digits the schema tells.
fn numeric(field: &Value) -> Option<FieldType> {
    if field["name"] != "org.apache.kafka.connect.data.Decimal" {
        return None;
    }
    let told = |name: &str| field["parameters"][name].as_str();
    let (precision, scale) = (told("connect.decimal.precision")?, told("scale")?);
    format!("decimal({precision}, {scale})").parse().ok()
}

/// The fields that the newest rows have.
fn observed(rows: &[&Map<String, Value>]) -> BTreeMap<String, Vec<Value>> {
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    let mut observed = BTreeMap::new();
    for name in names {
        let missed = rows
            .iter()
            .take_while(|row| !row.contains_key(name))
            .count();
        let others = &rows[missed..];
        // A source that leaves NULLs out has gaps; one that has none before has dropped the field.
        let has_gaps = others
            .iter()
            .skip_while(|row| row.contains_key(name))
            .any(|row| row.contains_key(name));
        if missed == 0 || (has_gaps && missed < MISSED) {
            let values = rows.iter().filter_map(|row| row.get(name));
            let values = values.filter(|value| !value.is_null()).cloned();
            observed.insert(name.clone(), values.collect());
        }
    }
    observed
}

/// Whether a value may be of a type.
fn agrees(known: FieldType, value: &Value) -> bool {
    match known {
        FieldType::Boolean => value.is_boolean(),
        FieldType::Int16
        | FieldType::Int32
        | FieldType::Int64
        | FieldType::Date
        | FieldType::Time
        | FieldType::Timestamp => value.is_i64(),
        // Not a number and the infinities come as texts.
        FieldType::Float | FieldType::Double => value.is_number() || is_infinite(value),
        FieldType::Numeric { .. } => value.is_number() || value.is_string(),
        FieldType::String | FieldType::Decimal | FieldType::TimestampTz | FieldType::Bytes => {
            value.is_string()
        }
        FieldType::Json => !value.is_boolean() && !value.is_number(),
        FieldType::Array => value.is_array(),
    }
}

fn is_infinite(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// The narrowest type that JSON alone allows to tell.
fn inferred(values: &[Value]) -> FieldType {
    let all = |is: fn(&Value) -> bool| !values.is_empty() && values.iter().all(is);
    if all(Value::is_boolean) {
        FieldType::Boolean
    } else if all(Value::is_i64) {
        FieldType::Int64
    } else if all(Value::is_number) {
        FieldType::Double
    } else if all(Value::is_array) {
        FieldType::Array
    } else if all(Value::is_object) {
        FieldType::Json
    } else if all(is_instant) {
        FieldType::TimestampTz
    } else if all(is_decimal) {
        FieldType::Decimal
    } else {
        FieldType::String
    }
}

fn is_instant(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    DateTime::parse_from_rfc3339(text).is_ok()
}

fn is_decimal(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = text.trim_start_matches('-').split_once('.');
    parts.is_some_and(|(whole, fraction)| digits(whole) && digits(fraction))
}
