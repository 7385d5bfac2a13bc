use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a change event did to its row.
///
/// Source: Debezium PostgreSQL connector documentation, "Data change events".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// A row read by a snapshot.
    Read,
    Truncate,
    /// A logical decoding message; no row.
    Message,
}

impl Op {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Create,
            Self::Update,
            Self::Delete,
            Self::Read,
            Self::Truncate,
            Self::Message,
        ]
        .into_iter()
        .find(|op| op.as_str() == text)
    }
}

/// Why a message is no envelope. Its text goes to the `error` column of bronze, so it never quotes the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    #[error("empty value")]
    Empty,
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("no op")]
    NoOp,
    #[error("unknown op")]
    UnknownOp,
    #[error("{0} is neither an object nor null")]
    ImageNotAnObject(&'static str),
}

/// One Debezium change event, borrowed from the message; `schemas.enable` true or false.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The row before the change: a JSON object, or none.
    pub before: Option<&'a RawValue>,
    /// The row after the change: a JSON object, or none.
    pub after: Option<&'a RawValue>,
    pub op: Op,
    pub source_lsn: Option<i64>,
    /// Milliseconds since 1970 at which the source committed the change.
    pub source_ts_ms: Option<i64>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Source<'a> {
    #[serde(borrow, default)]
    lsn: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ts_ms: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads the value of a message. A tombstone (no value) is not an envelope and is the caller's to tell apart.
    pub fn parse(value: &'a [u8]) -> Result<Self, EnvelopeFault> {
        if value.iter().all(u8::is_ascii_whitespace) {
            return Err(EnvelopeFault::Empty);
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| EnvelopeFault::NotJson("not UTF-8".to_owned()))?;
        let outer: Wrapped<'a> = object(text)?;
        let fields: Fields<'a> = match (outer.payload, outer.schema, outer.op) {
            (Some(payload), Some(_), None) => object(payload.get())?,
            _ => object(text)?,
        };
        let op_text: Cow<'a, str> = match fields.op {
            None => return Err(EnvelopeFault::NoOp),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| EnvelopeFault::UnknownOp)?,
        };
        let op = Op::parse(&op_text).ok_or(EnvelopeFault::UnknownOp)?;
        let source: Source<'a> = fields
            .source
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        let number = |raw: Option<&RawValue>| raw.and_then(|raw| raw.get().parse().ok());
        Ok(Self {
            before: image("before", fields.before)?,
            after: image("after", fields.after)?,
            op,
            source_lsn: number(source.lsn),
            source_ts_ms: number(source.ts_ms),
        })
    }
}

fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, EnvelopeFault> {
    if !text.trim_start().starts_with('{') {
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Err(EnvelopeFault::NotAnObject),
            Err(error) => Err(not_json(&error)),
        };
    }
    serde_json::from_str(text).map_err(|error| not_json(&error))
}

/// Category and place only: serde's own text may quote the payload, which holds personal data.
fn not_json(error: &serde_json::Error) -> EnvelopeFault {
    EnvelopeFault::NotJson(format!(
        "{:?} error at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    ))
}

fn image<'a>(
    name: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<Option<&'a RawValue>, EnvelopeFault> {
    match raw {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) if raw.get().starts_with('{') => Ok(Some(raw)),
        Some(_) => Err(EnvelopeFault::ImageNotAnObject(name)),
    }
}

#[cfg(test)]
mod tests;
