use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::nearest;

/// The lock's name in the project's folder.
pub const LOCK_FILE: &str = "sources.lock";

const FORMAT: u32 = 1;

const HEADER: &str = "\
# The bronze tables and the JSON fields of their rows, so that `sportlake check` works offline.
# Commit this file. One [bronze.TABLE] a topic: `topic`, `key` (the fields of its message keys)
# and [bronze.TABLE.fields] with one line a field of `before` and `after`. Types say how the
# field looks in JSON and what it means:
#   boolean, int16, int32, int64, float, double, string, json, array   as in JSON
#   decimal                 a string such as \"30940.00\"
#   decimal(12, 2)          the same, or as Debezium's modes precise and double write it
#   date                    days since 1970-01-01
#   time                    microseconds since midnight
#   timestamp               microseconds since 1970-01-01, in the source's own time zone
#   timestamptz             a string such as \"2025-11-01T05:42:13.123456Z\"
#   bytes                   base64
";

/// What the project may rely on in the topics: `sql/sources.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcesLock {
    format: u32,
    #[serde(default)]
    pub bronze: BTreeMap<String, BronzeSource>,
}

/// One bronze table's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BronzeSource {
    pub topic: String,
    #[serde(default)]
    pub key: Vec<String>,
    #[serde(default)]
    pub fields: BTreeMap<String, FieldType>,
}

/// How a field of a source's rows looks in JSON, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    String,
    Json,
    Array,
    /// Of a scale that the lock does not say, as text.
    Decimal,
    /// `decimal(p, s)`, in any form that Debezium gives it.
    Numeric {
        precision: u8,
        scale: u8,
    },
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Bytes,
}

/// The types that are one word.
const PLAIN: [(&str, FieldType); 15] = [
    ("boolean", FieldType::Boolean),
    ("int16", FieldType::Int16),
    ("int32", FieldType::Int32),
    ("int64", FieldType::Int64),
    ("float", FieldType::Float),
    ("double", FieldType::Double),
    ("string", FieldType::String),
    ("json", FieldType::Json),
    ("array", FieldType::Array),
    ("decimal", FieldType::Decimal),
    ("date", FieldType::Date),
    ("time", FieldType::Time),
    ("timestamp", FieldType::Timestamp),
    ("timestamptz", FieldType::TimestampTz),
    ("bytes", FieldType::Bytes),
];

/// Digits that a DECIMAL of the lake can have.
const MOST_DIGITS: u8 = 38;

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Numeric { precision, scale } = self {
            return write!(f, "decimal({precision}, {scale})");
        }
        let plain = PLAIN.iter().find(|(_, plain)| plain == self);
        f.write_str(plain.map_or("decimal", |(word, _)| word))
    }
}

impl FromStr for FieldType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, plain)) = PLAIN.iter().find(|(word, _)| *word == text) {
            return Ok(*plain);
        }
        let digits = text
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(','));
        if let Some((precision, scale)) = digits
            && let (Ok(precision), Ok(scale)) = (precision.trim().parse(), scale.trim().parse())
            && (1..=MOST_DIGITS).contains(&precision)
            && scale <= precision
        {
            return Ok(Self::Numeric { precision, scale });
        }
        let words = PLAIN.map(|(word, _)| word);
        Err(match nearest::name(text, words) {
            Some(near) => format!("unknown type \"{text}\", did you mean \"{near}\"?"),
            None => format!("unknown type \"{text}\", types are {}", words.join(", ")),
        })
    }
}

impl Serialize for FieldType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Default for SourcesLock {
    fn default() -> Self {
        Self {
            format: FORMAT,
            bronze: BTreeMap::new(),
        }
    }
}

impl SourcesLock {
    /// Reads the project's lock; a project without one reads no bronze table.
    pub fn load(project: &Path) -> Result<Self> {
        let path = project.join(LOCK_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|error| {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                Error::invalid(format!("\"{}\" is not valid: {error}", path.display())).hint(hint)
            }),
            Err(error) if error.kind() == IoKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("could not read \"{}\"", path.display()),
            )
            .caused_by(error)),
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text).map_err(|error| {
            Error::invalid(error.message().to_owned())
                .hint("The first lines of the file say how it is written.")
        })?;
        if lock.format != FORMAT {
            return Err(
                Error::invalid(format!("format {} is not known", lock.format))
                    .hint(format!("This version of sportlake writes format {FORMAT}.")),
            );
        }
        Ok(lock)
    }

    /// Replaces the project's lock in one step.
    pub fn save(&self, project: &Path) -> Result<()> {
        let path = project.join(LOCK_FILE);
        disk::replace_file(&path, self.render()?.as_bytes()).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("could not write \"{}\"", path.display()),
            )
            .caused_by(error)
        })
    }

    pub fn render(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "could not write the sources lock").caused_by(error)
        })?;
        Ok(format!("{HEADER}\n{body}"))
    }

    pub fn nearest_field(&self, table: &str, field: &str) -> Option<&str> {
        let source = self.bronze.get(table)?;
        nearest::name(field, source.fields.keys().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> SourcesLock {
        let mut lock = SourcesLock::default();
        lock.bronze.insert(
            "employees".to_owned(),
            BronzeSource {
                topic: "sportsdata.public.employees".to_owned(),
                key: vec!["id".to_owned()],
                fields: BTreeMap::from([
                    ("id".to_owned(), FieldType::Int64),
                    ("date_embauche".to_owned(), FieldType::Date),
                    ("seen_at".to_owned(), FieldType::TimestampTz),
                    (
                        "pay".to_owned(),
                        FieldType::Numeric {
                            precision: 12,
                            scale: 2,
                        },
                    ),
                ]),
            },
        );
        lock
    }

    #[test]
    fn a_saved_lock_loads_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        lock().save(folder.path()).expect("saved");
        assert_eq!(SourcesLock::load(folder.path()).expect("loads"), lock());
    }

    #[test]
    fn a_missing_lock_is_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let loaded = SourcesLock::load(folder.path()).expect("loads");
        assert_eq!(loaded, SourcesLock::default());
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for text in [
            "format = 2",
            "format = 1\n[bronze.t]\ntopic = \"a\"\ncolour = 1",
            "format = 1\n[bronze.t]\ntopic = \"a\"\n[bronze.t.fields]\nid = \"int128\"",
            "format = 1\n[bronze.t]\ntopic = \"a\"\n[bronze.t.fields]\nid = \"decimal(39, 2)\"",
            "format = 1\n[bronze.t]\ntopic = \"a\"\n[bronze.t.fields]\nid = \"decimal(2, 3)\"",
            "format",
        ] {
            assert!(SourcesLock::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_typo_finds_its_field() {
        assert_eq!(
            lock().nearest_field("employees", "date_embuche"),
            Some("date_embauche")
        );
    }
}
