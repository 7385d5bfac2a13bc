//! Values whose JSON form only the message's schema explains, brought to one form.
//!
//! Numbers become decimal text, dates days, times and timestamps microseconds: what Debezium sends for the same row
//! with `decimal.handling.mode=string` and microseconds, so that one SELECT reads all of them. Decided by the schema's
//! names, never by a value.
//!
//! Source: Debezium PostgreSQL connector documentation, "Data type mappings"; Kafka Connect, "Schemas".

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest unscaled number that is written out, bytes: more than 9000 digits.
const LONGEST_NUMBER: usize = 4_096;

const MICROS_A_SECOND: i64 = 1_000_000;

/// The fields of a row that are to be rewritten.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogicalTypes(BTreeMap<String, Logical>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logical {
    /// Base64 of an unscaled number.
    Decimal {
        scale: i32,
    },
    /// A struct of a scale and such a number.
    VariableDecimal,
    Millis,
    Nanos,
    IsoDate,
    IsoTime,
    IsoTimestamp,
}

#[derive(Deserialize)]
struct SchemaField {
    #[serde(default)]
    field: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    fields: Vec<SchemaField>,
}

impl LogicalTypes {
    /// Those of the rows that an envelope's schema describes.
    pub fn of(schema: &str) -> Self {
        let Ok(envelope) = serde_json::from_str::<SchemaField>(schema) else {
            return Self::default();
        };
        let rows = envelope.fields.iter();
        let mut rows = rows.filter(|field| field.field == "after" || field.field == "before");
        let fields = rows.next().map(|row| row.fields.as_slice());
        let logical = fields.unwrap_or_default().iter().filter_map(|field| {
            let logical = Logical::of(field)?;
            Some((field.field.clone(), logical))
        });
        Self(logical.collect())
    }

    /// The row in the one form; none where it is in it already.
    pub fn applied(&self, row: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(row).ok()?;
        let mut rewritten = BTreeMap::new();
        for (name, logical) in &self.0 {
            let json = fields.get(name).and_then(|value| logical.json(value.get()));
            let raw = json.and_then(|json| RawValue::from_string(json).ok());
            rewritten.extend(raw.map(|raw| (name, raw)));
        }
        for (name, raw) in &rewritten {
            fields.insert((*name).clone(), raw);
        }
        serde_json::to_string(&fields).ok()
    }
}

impl Logical {
    fn of(field: &SchemaField) -> Option<Self> {
        Some(match field.name.as_deref()? {
            "org.apache.kafka.connect.data.Decimal" => {
                let scale = field.parameters.get("scale")?;
                let scale = scale
                    .as_str()
                    .map_or_else(|| scale.to_string(), str::to_owned);
                Self::Decimal {
                    scale: scale.parse().ok()?,
                }
            }
            "io.debezium.data.VariableScaleDecimal" => Self::VariableDecimal,
            "io.debezium.time.Time"
            | "io.debezium.time.Timestamp"
            | "org.apache.kafka.connect.data.Time"
            | "org.apache.kafka.connect.data.Timestamp" => Self::Millis,
            "io.debezium.time.NanoTime" | "io.debezium.time.NanoTimestamp" => Self::Nanos,
            "io.debezium.time.IsoDate" => Self::IsoDate,
            "io.debezium.time.IsoTime" => Self::IsoTime,
            "io.debezium.time.IsoTimestamp" => Self::IsoTimestamp,
            _ => return None,
        })
    }

    /// The value rewritten; none where it is not what the schema says, null among others.
    fn json(self, value: &str) -> Option<String> {
        let text = || serde_json::from_str::<String>(value).ok();
        // An infinite time is beyond every number of microseconds, and stays so.
        let number = || value.parse::<i64>().ok();
        let quoted = |text: String| format!("\"{text}\"");
        let iso = |text: String| text.trim_end_matches('Z').to_owned();
        match self {
            Self::Decimal { scale } => base64_decimal(&text()?, scale).map(quoted),
            Self::VariableDecimal => variable_decimal(value).map(quoted),
            Self::Millis => Some(number()?.saturating_mul(1_000).to_string()),
            Self::Nanos => Some(number()?.div_euclid(1_000).to_string()),
            Self::IsoDate => {
                let date: NaiveDate = iso(text()?).parse().ok()?;
                Some((date - NaiveDate::default()).num_days().to_string())
            }
            Self::IsoTime => {
                let time: NaiveTime = iso(text()?).parse().ok()?;
                let seconds = i64::from(time.num_seconds_from_midnight());
                let micros = i64::from(time.nanosecond() / 1_000);
                Some((seconds * MICROS_A_SECOND + micros).to_string())
            }
            Self::IsoTimestamp => {
                let at: NaiveDateTime = iso(text()?).parse().ok()?;
                Some(at.and_utc().timestamp_micros().to_string())
            }
        }
    }
}

/// A number by its scale and the base64 of its unscaled value, big-endian in two's complement.
pub fn base64_decimal(base64: &str, scale: i32) -> Option<String> {
    let bytes = STANDARD.decode(base64).ok()?;
    if bytes.is_empty() || bytes.len() > LONGEST_NUMBER || scale.unsigned_abs() > 20_000 {
        return None;
    }
    let (negative, digits) = digits(bytes);
    let digits = match usize::try_from(scale) {
        Ok(0) => digits,
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = padded.split_at(padded.len() - scale);
            format!("{whole}.{part}")
        }
        Err(_) if digits == "0" => digits,
        Err(_) => digits + &"0".repeat(scale.unsigned_abs() as usize),
    };
    Some(if negative {
        format!("-{digits}")
    } else {
        digits
    })
}

/// The same for `{"scale": 3, "value": base64}`.
pub fn variable_decimal(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Variable {
        scale: i32,
        value: String,
    }
    let variable: Variable = serde_json::from_str(json).ok()?;
    base64_decimal(&variable.value, variable.scale)
}

/// Sign and decimal digits of a number of any length.
fn digits(mut bytes: Vec<u8>) -> (bool, String) {
    const BILLION: u64 = 1_000_000_000;
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (value, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (value, over);
        }
    }
    // Least significant first.
    let mut billions: Vec<u64> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(byte);
        for part in &mut billions {
            let value = *part * 256 + carry;
            (*part, carry) = (value % BILLION, value / BILLION);
        }
        if carry > 0 {
            billions.push(carry);
        }
    }
    let mut text = billions.pop().unwrap_or(0).to_string();
    for part in billions.iter().rev() {
        text.push_str(&format!("{part:09}"));
    }
    (negative, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_and_scale_are_written_out() {
        // As PostgreSQL and Debezium sent them.
        assert_eq!(base64_decimal("EtaH", 2).as_deref(), Some("12345.67"));
        assert_eq!(
            variable_decimal(r#"{"scale":3,"value":"FOoVtaY/Hl/Ciw=="}"#).as_deref(),
            Some("98765432109876543210.123")
        );
        for (bytes, scale, expected) in [
            (vec![0], 2, "0.00"),
            (vec![0xff], 2, "-0.01"),
            (vec![0x80], 0, "-128"),
            (vec![0x7f], -2, "12700"),
            (vec![0], -2, "0"),
            (vec![0, 0xff], 3, "0.255"),
        ] {
            let found = base64_decimal(&STANDARD.encode(bytes), scale);
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(base64_decimal("", 2), None);
        assert_eq!(base64_decimal("no base64!", 2), None);
        assert_eq!(base64_decimal("EtaH", i32::MIN), None);
    }

    #[track_caller]
    fn check(name: &str, value: &str, expected: &str) {
        let parameters = r#"{"scale":"2"}"#;
        let schema = format!(
            r#"{{"type":"struct","fields":[{{"field":"before","fields":[{{"field":"v","name":"{name}","parameters":{parameters}}}]}}]}}"#
        );
        let types = LogicalTypes::of(&schema);
        let row = format!(r#"{{"id":1,"v":{value}}}"#);
        let found = types.applied(&row).unwrap_or(row);
        assert_eq!(found, format!(r#"{{"id":1,"v":{expected}}}"#));
    }

    #[test]
    fn every_logical_type_has_one_form() {
        check(
            "org.apache.kafka.connect.data.Decimal",
            "\"EtaH\"",
            "\"12345.67\"",
        );
        check("org.apache.kafka.connect.data.Decimal", "null", "null");
        check(
            "io.debezium.data.VariableScaleDecimal",
            r#"{"scale":3,"value":"AQ=="}"#,
            "\"0.001\"",
        );
        check("io.debezium.time.Date", "20393", "20393");
        check("org.apache.kafka.connect.data.Date", "20393", "20393");
        check("io.debezium.time.Time", "1001", "1001000");
        check("org.apache.kafka.connect.data.Time", "1001", "1001000");
        check("io.debezium.time.MicroTime", "27733123456", "27733123456");
        check("io.debezium.time.NanoTime", "27733123456789", "27733123456");
        check(
            "io.debezium.time.Timestamp",
            "1761982933123",
            "1761982933123000",
        );
        check("org.apache.kafka.connect.data.Timestamp", "-1", "-1000");
        check("io.debezium.time.MicroTimestamp", "5", "5");
        check("io.debezium.time.NanoTimestamp", "-1", "-1");
        check(
            "io.debezium.time.ZonedTimestamp",
            "\"infinity\"",
            "\"infinity\"",
        );
        check("io.debezium.time.IsoDate", "\"2025-11-01Z\"", "20393");
        check(
            "io.debezium.time.IsoTime",
            "\"07:42:13.123456Z\"",
            "27733123456",
        );
        check(
            "io.debezium.time.IsoTimestamp",
            "\"2025-11-01T07:42:13.123456Z\"",
            "1761982933123456",
        );
    }

    #[test]
    fn infinity_and_what_the_schema_does_not_say_do_no_harm() {
        check(
            "io.debezium.time.Timestamp",
            "9223372036825200000",
            "9223372036854775807",
        );
        check(
            "io.debezium.time.Timestamp",
            "-9223372036832400000",
            "-9223372036854775808",
        );
        check(
            "io.debezium.time.NanoTimestamp",
            "-9223372036854775808",
            "-9223372036854776",
        );
        check("io.debezium.time.Timestamp", "\"x\"", "\"x\"");
        check("io.debezium.time.IsoDate", "\"infinity\"", "\"infinity\"");
        check("org.apache.kafka.connect.data.Decimal", "12", "12");
        assert_eq!(LogicalTypes::of("[]"), LogicalTypes::default());
        assert_eq!(LogicalTypes::of(r#"{"fields":[]}"#).applied("{}"), None);
    }
}
