use changes::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// How Debezium's `decimal.handling.mode` writes NUMERIC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decimals {
    Precise,
    /// What the SQL of a project reads without a function.
    #[default]
    String,
    Double,
}

/// How Debezium's `time.precision.mode` writes times without a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    #[default]
    Adaptive,
    AdaptiveTimeMicroseconds,
    Connect,
}

/// What a column holds, and so how its text becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// With the schema's name where it has one.
    Text(Option<&'static str>),
    /// Unscaled bytes of a fixed scale.
    Decimal {
        precision: i32,
        scale: i32,
    },
    /// Unscaled bytes beside the value's own scale.
    VariableDecimal,
    DecimalText {
        scale: usize,
    },
    DecimalDouble,
    Date {
        connect: bool,
    },
    TimeMillis {
        connect: bool,
    },
    TimeMicros,
    TimeWithZone,
    TimestampMillis {
        connect: bool,
    },
    TimestampMicros,
    TimestampWithZone {
        digits: usize,
    },
    Interval,
    Enum(Vec<String>),
    Bytes,
    Bits(i32),
    Array(Box<Kind>),
}

/// A type as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Type {
    /// `pg_type.typname`, of the base type where it is a domain, of the elements where it is an array.
    pub(super) name: String,
    pub(super) array: bool,
    pub(super) modifier: i32,
    /// The labels, where it is an enum.
    pub(super) labels: Vec<String>,
}

/// The header that a modifier has in front of it.
const VARHDRSZ: i32 = 4;
const MOST_DIGITS: usize = 6;

impl Kind {
    pub(super) fn of(of: &Type, decimals: Decimals, times: Times) -> Result<Self> {
        if of.array {
            let element = Type {
                array: false,
                ..of.clone()
            };
            return match Self::of(&element, decimals, times)? {
                Self::Bits(_) | Self::Interval => Err(unsupported(&format!("{}[]", of.name))),
                element => Ok(Self::Array(Box::new(element))),
            };
        }
        if !of.labels.is_empty() {
            return Ok(Self::Enum(of.labels.clone()));
        }
        let connect = times == Times::Connect;
        let digits = usize::try_from(of.modifier)
            .unwrap_or(MOST_DIGITS)
            .min(MOST_DIGITS);
        Ok(match of.name.as_str() {
            "bool" => Self::Bool,
            "int2" => Self::Int16,
            "int4" => Self::Int32,
            "int8" | "oid" => Self::Int64,
            "float4" => Self::Float32,
            "float8" => Self::Float64,
            "numeric" => match (decimals, of.modifier) {
                (Decimals::String, ..VARHDRSZ) => Self::DecimalText { scale: 0 },
                (Decimals::String, modifier) => Self::DecimalText {
                    scale: usize::try_from(scale(modifier)).unwrap_or(0),
                },
                (Decimals::Double, _) => Self::DecimalDouble,
                (Decimals::Precise, ..VARHDRSZ) => Self::VariableDecimal,
                (Decimals::Precise, modifier) => Self::Decimal {
                    precision: ((modifier - VARHDRSZ) >> 16) & 0xffff,
                    scale: scale(modifier),
                },
            },
            "text" | "varchar" | "bpchar" | "char" | "name" | "citext" | "inet" | "cidr"
            | "macaddr" | "macaddr8" | "int4range" | "int8range" | "numrange" | "tsrange"
            | "tstzrange" | "daterange" => Self::Text(None),
            "uuid" => Self::Text(Some("io.debezium.data.Uuid")),
            "json" | "jsonb" => Self::Text(Some("io.debezium.data.Json")),
            "xml" => Self::Text(Some("io.debezium.data.Xml")),
            "ltree" => Self::Text(Some("io.debezium.data.Ltree")),
            "tsvector" => Self::Text(Some("io.debezium.data.Tsvector")),
            "bytea" => Self::Bytes,
            "date" => Self::Date { connect },
            "time" if connect || (digits <= 3 && times == Times::Adaptive) => {
                Self::TimeMillis { connect }
            }
            "time" => Self::TimeMicros,
            "timetz" => Self::TimeWithZone,
            "timestamp" if connect || digits <= 3 => Self::TimestampMillis { connect },
            "timestamp" => Self::TimestampMicros,
            "timestamptz" => Self::TimestampWithZone { digits },
            "interval" => Self::Interval,
            "bit" if of.modifier == 1 => Self::Bool,
            "bit" | "varbit" => Self::Bits(of.modifier),
            other => return Err(unsupported(other)),
        })
    }

    /// What stands for a value that is not null and not known: Debezium's own choice.
    pub(super) fn placeholder(&self) -> Value {
        match self {
            Self::Bool => json!(false),
            Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Date { .. }
            | Self::TimeMillis { .. }
            | Self::TimeMicros
            | Self::TimestampMillis { .. }
            | Self::TimestampMicros
            | Self::Interval => json!(0),
            Self::Float32 | Self::Float64 | Self::DecimalDouble => json!(0.0),
            Self::Text(_) | Self::Enum(_) | Self::Bytes | Self::Bits(_) => json!(""),
            Self::Decimal { .. } => json!("AA=="),
            Self::VariableDecimal => json!({"scale": 0, "value": "AA=="}),
            Self::DecimalText { scale: 0 } => json!("0"),
            Self::DecimalText { scale } => json!(format!("0.{:0<scale$}", "")),
            Self::TimeWithZone => json!("00:00:00Z"),
            Self::TimestampWithZone { .. } => json!("1970-01-01T00:00:00Z"),
            Self::Array(_) => json!([]),
        }
    }

    /// What stands for a large value that the log does not have.
    pub(super) fn unavailable(&self) -> Value {
        use base64::Engine as _;
        const UNAVAILABLE: &str = "__debezium_unavailable_value";
        let in_base64 = || base64::engine::general_purpose::STANDARD.encode(UNAVAILABLE);
        match self {
            Self::Bytes => json!(in_base64()),
            Self::Array(element) => match element.as_ref() {
                Self::Int16 | Self::Int32 | Self::Int64 => {
                    let bytes = UNAVAILABLE.bytes().map(Value::from);
                    bytes.collect()
                }
                _ => json!([element.unavailable()]),
            },
            Self::Decimal { .. } => json!(in_base64()),
            Self::VariableDecimal => json!({"scale": 0, "value": in_base64()}),
            _ => json!(UNAVAILABLE),
        }
    }

    /// Kafka Connect's schema of the column, as its JSON converter writes it.
    pub(super) fn schema(&self, optional: bool) -> Value {
        let plain = |kind: &str| json!({"type": kind, "optional": optional});
        let named = |kind: &str, name: &str| json!({"type": kind, "optional": optional, "name": name, "version": 1});
        match self {
            Self::Bool => plain("boolean"),
            Self::Int16 => plain("int16"),
            Self::Int32 => plain("int32"),
            Self::Int64 => plain("int64"),
            Self::Float32 => plain("float"),
            Self::Float64 | Self::DecimalDouble => plain("double"),
            Self::Text(None) | Self::DecimalText { .. } => plain("string"),
            Self::Text(Some(name)) => named("string", name),
            Self::Decimal { precision, scale } => json!({
                "type": "bytes", "optional": optional, "name": "org.apache.kafka.connect.data.Decimal", "version": 1,
                "parameters": {"scale": scale.to_string(), "connect.decimal.precision": precision.to_string()},
            }),
            Self::VariableDecimal => json!({
                "type": "struct",
                "fields": [
                    {"type": "int32", "optional": false, "field": "scale"},
                    {"type": "bytes", "optional": false, "field": "value"},
                ],
                "optional": optional, "name": "io.debezium.data.VariableScaleDecimal", "version": 1,
                "doc": "Variable scaled decimal",
            }),
            Self::Date { connect: true } => named("int32", "org.apache.kafka.connect.data.Date"),
            Self::Date { .. } => named("int32", "io.debezium.time.Date"),
            Self::TimeMillis { connect: true } => {
                named("int32", "org.apache.kafka.connect.data.Time")
            }
            Self::TimeMillis { .. } => named("int32", "io.debezium.time.Time"),
            Self::TimeMicros => named("int64", "io.debezium.time.MicroTime"),
            Self::TimeWithZone => named("string", "io.debezium.time.ZonedTime"),
            Self::TimestampMillis { connect: true } => {
                named("int64", "org.apache.kafka.connect.data.Timestamp")
            }
            Self::TimestampMillis { .. } => named("int64", "io.debezium.time.Timestamp"),
            Self::TimestampMicros => named("int64", "io.debezium.time.MicroTimestamp"),
            Self::TimestampWithZone { .. } => named("string", "io.debezium.time.ZonedTimestamp"),
            Self::Interval => named("int64", "io.debezium.time.MicroDuration"),
            Self::Enum(labels) => json!({
                "type": "string", "optional": optional, "name": "io.debezium.data.Enum", "version": 1,
                "parameters": {"allowed": labels.join(",")},
            }),
            Self::Bytes => plain("bytes"),
            Self::Bits(length) => json!({
                "type": "bytes", "optional": optional, "name": "io.debezium.data.Bits", "version": 1,
                "parameters": {"length": if *length < 0 { i32::MAX } else { *length }.to_string()},
            }),
            Self::Array(element) => {
                json!({"type": "array", "items": element.schema(true), "optional": optional})
            }
        }
    }
}

/// Eleven bits with a sign.
fn scale(modifier: i32) -> i32 {
    (((modifier - VARHDRSZ) & 0x7ff) ^ 1024) - 1024
}

fn unsupported(name: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("values of type \"{name}\" cannot be written"),
    )
}
