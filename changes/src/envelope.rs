use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
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
    pub source_commit: CommitPosition,
    /// A hash of the connector's and the server's name.
    pub source_name: Option<i64>,
}

/// The last commit in the source's log before the change, by the first element of `source.sequence`.
///
/// Changes are sent in the order of their commits, so this never falls within one life of a source but when a connector
/// repeats what it sent. The position of a change itself does: transactions overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommitPosition {
    /// The source does not say.
    #[default]
    Untold,
    /// The connector has seen no commit yet.
    None,
    After(i64),
}

/// The fields of an envelope, and those of the wrapping that `schemas.enable` adds, in one pass over the text.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
    #[serde(default)]
    source: Source,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

/// Where the change stands in its source; a block of another shape says nothing.
#[derive(Default)]
struct Source {
    lsn: Option<i64>,
    ts_ms: Option<i64>,
    commit: CommitPosition,
    connector: Option<u64>,
    name: Option<u64>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let mut source = Source::default();
        while let Some(name) = map.next_key::<SourceField>()? {
            match name {
                SourceField::Lsn => source.lsn = number(map.next_value()?),
                SourceField::TsMs => source.ts_ms = number(map.next_value()?),
                SourceField::Sequence => source.commit = commit(map.next_value()?),
                SourceField::Connector => source.connector = Some(hash(map.next_value()?)),
                SourceField::Name => source.name = Some(hash(map.next_value()?)),
                SourceField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(source)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Source, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Source::default())
    }

    fn visit_unit<E>(self) -> Result<Source, E> {
        Ok(Source::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Source, E> {
        Ok(Source::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Source, E> {
        Ok(Source::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Source, E> {
        Ok(Source::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Source, E> {
        Ok(Source::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Source, E> {
        Ok(Source::default())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum SourceField {
    #[serde(rename = "lsn")]
    Lsn,
    #[serde(rename = "ts_ms")]
    TsMs,
    #[serde(rename = "sequence")]
    Sequence,
    #[serde(rename = "connector")]
    Connector,
    #[serde(rename = "name")]
    Name,
    #[serde(other)]
    Other,
}

fn number(raw: &RawValue) -> Option<i64> {
    raw.get().parse().ok()
}

/// `sequence` is a text with a JSON array in it: `"[\"26375760\",\"26375792\"]"`.
fn commit(raw: &RawValue) -> CommitPosition {
    let Some(list) = raw.get().strip_prefix("\"[") else {
        return CommitPosition::Untold;
    };
    let first = list.split(',').next().unwrap_or_default();
    let first = first.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\\' | '"' | ']'));
    match first.parse() {
        Ok(position) => CommitPosition::After(position),
        Err(_) if first == "null" => CommitPosition::None,
        Err(_) => CommitPosition::Untold,
    }
}

/// FNV-1a: kept in tables, so it must not depend on the compiler.
fn hash(raw: &RawValue) -> u64 {
    raw.get().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl<'a> Envelope<'a> {
    /// Reads the value of a message. A tombstone (no value) is not an envelope and is the caller's to tell apart.
    pub fn parse(value: &'a [u8]) -> Result<Self, EnvelopeFault> {
        if value.iter().all(u8::is_ascii_whitespace) {
            return Err(EnvelopeFault::Empty);
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| EnvelopeFault::NotJson("not UTF-8".to_owned()))?;
        let outer: Fields<'a> = object(text)?;
        let fields = match (outer.payload, outer.schema, outer.op) {
            (Some(payload), Some(_), None) => object(payload.get())?,
            _ => outer,
        };
        let op_text: Cow<'a, str> = match fields.op {
            None => return Err(EnvelopeFault::NoOp),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| EnvelopeFault::UnknownOp)?,
        };
        let op = Op::parse(&op_text).ok_or(EnvelopeFault::UnknownOp)?;
        Ok(Self {
            before: image("before", fields.before)?,
            after: image("after", fields.after)?,
            op,
            source_lsn: fields.source.lsn,
            source_ts_ms: fields.source.ts_ms,
            source_commit: fields.source.commit,
            source_name: match (fields.source.connector, fields.source.name) {
                (None, None) => None,
                (connector, name) => {
                    let both = connector.unwrap_or(0).rotate_left(1) ^ name.unwrap_or(0);
                    Some(both.cast_signed())
                }
            },
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
